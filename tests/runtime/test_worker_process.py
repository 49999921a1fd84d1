"""A real worker process without a server: how it fails to start and what ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import cog.server.process as process_module
import pytest
from cog.server.process import WorkerProcess
from cog.worker.protocol import HEADER, SPILL, Predict, Setup, SetupDone

SDK = Path(__file__).resolve().parent.parent.parent / "runtime"
MODEL = "from cog import BaseRunner\nclass Runner(BaseRunner):\n    def run(self) -> int:\n        return 1\n"


def spawn(folder: Path, python: str = sys.executable) -> WorkerProcess:
    return WorkerProcess(python=python, sdk=str(SDK), folder=str(folder), environment=os.environ)


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_one_that_cannot_be_started_leaves_nothing_open(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        spawn(tmp_path, python=str(tmp_path / "nowhere"))
    assert descriptors() == before


def test_one_that_cannot_be_watched_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def attach(worker: WorkerProcess) -> None:
        before = descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                worker.attach(on_message=print, on_text=print, on_exit=print)
        assert len(descriptors()) == len(before) - 5, "the sockets, the pipes, the shared memory"

    worker = spawn(tmp_path)
    asyncio.run(attach(worker))
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.parametrize("body", [b"nothing", json.dumps(["Spilled", "/nowhere/frame"]).encode()])
def test_a_message_that_cannot_be_read_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.py").write_text(MODEL)

    async def life() -> tuple[int, str]:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        texts: list[str] = []
        worker = spawn(tmp_path)

        def on_message(message: Any) -> None:
            if isinstance(message, SetupDone):
                worker._sockets[0].send(HEADER.pack(len(body)) + body)

        worker.attach(on_message=on_message, on_text=lambda source, text: texts.append(text), on_exit=ended.set_result)
        worker.send(Setup("run.py:Runner", "predict", str(tmp_path)))
        try:
            return await asyncio.wait_for(ended, 60), "".join(texts)
        finally:
            worker.kill()

    code, text = asyncio.run(life())
    assert code == 1
    assert "The server's message cannot be taken: ProtocolError" in text


def test_what_it_did_not_live_to_read_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.py").write_text(MODEL)
    exchange = tmp_path / "exchange"
    exchange.mkdir()

    async def life() -> None:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        set_up = asyncio.Event()
        worker = spawn(exchange)
        worker.attach(
            on_message=lambda message: set_up.set() if isinstance(message, SetupDone) else None,
            on_text=lambda source, text: None,
            on_exit=ended.set_result,
        )
        try:
            worker.send(Setup("run.py:Runner", "predict", str(exchange)))
            await asyncio.wait_for(set_up.wait(), 60)
            os.kill(worker.pid, signal.SIGSTOP)
            worker.send(Predict("1", {"text": "x" * SPILL}, str(exchange / "1")))
            assert [path.name[:6] for path in exchange.iterdir()] == ["frame-"]
        finally:
            worker.kill()
            await asyncio.wait_for(ended, 60)
        assert list(exchange.iterdir()) == []

    asyncio.run(life())


def test_it_is_known_to_be_gone_before_its_family_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    real = process_module.end_family

    def slowly(leader: int, *, mark: str) -> None:
        assert go.wait(60)
        real(leader, mark=mark)

    monkeypatch.setattr(process_module, "end_family", slowly)

    async def life() -> None:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        worker = spawn(tmp_path)
        worker.attach(on_message=lambda _: None, on_text=lambda source, text: None, on_exit=ended.set_result)
        assert not worker.gone
        worker.kill()
        while not worker.gone:
            await asyncio.sleep(0.01)
        assert not ended.done()
        go.set()
        assert await asyncio.wait_for(ended, 60) == -signal.SIGKILL

    asyncio.run(asyncio.wait_for(life(), 60))
