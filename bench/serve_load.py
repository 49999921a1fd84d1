"""The prediction server under load, its workers killed at random: nothing may be lost, nothing left behind.

    python bench/serve_load.py [--seconds 60] [--clients 16] [--kill-every 2.0] [--seed 0]

An async model with eight slots; clients that wait and clients that do not, all with webhooks, to a receiver that now
and then answers 500.  Ends with exit code 1 if a prediction that was accepted has no final state, told once and for all
by its webhook; or if, when all is quiet, the server has more descriptors, processes or threads than before, or leaves
a file of its own.  (What a model had in the temporary folder when its worker was killed is the model's: it is counted.)

Needs the packages of the server in the Python that runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TERMINAL = ("succeeded", "failed", "canceled")
PATIENCE = 60.0
SLOTS = 8
MODEL = """
import asyncio, os, subprocess, tempfile
from cog import BaseRunner, Path, concurrent
class Runner(BaseRunner):
    @concurrent(max=8)
    async def run(self, n: int) -> Path:
        print("prediction", n)
        await asyncio.sleep(n % 7 / 500)
        if n % 11 == 0:
            raise ValueError("as planned")
        if n % 13 == 0:
            subprocess.Popen(["sleep", "300"])  # a child that nobody ends
        number, path = tempfile.mkstemp(suffix=".txt")
        os.write(number, b"x" * 100)
        os.close(number)
        return Path(path)
"""
SCHEMA = {
    "openapi": "3.0.2",
    "paths": {},
    "components": {
        "schemas": {"Input": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
    },
}


class Receiver:
    """Webhooks as they come; each twentieth is refused once."""

    def __init__(self) -> None:
        self.final: dict[str, set[str]] = {}
        self.count = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                told = json.loads(await reader.readexactly(length))
                self.count += 1
                refused = self.count % 20 == 0
                if told["status"] in TERMINAL and not refused:
                    self.final.setdefault(told["id"], set()).add(told["status"])
                status = b"500 Later" if refused else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        self._writers.discard(writer)
        writer.close()


class Server:
    def __init__(self, folder: Path) -> None:
        specification = importlib.util.find_spec("fastapi")
        if specification is None or specification.origin is None:
            sys.exit("this Python has no fastapi; use the one that runs the tests")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "src/.cog").mkdir(parents=True)
        (folder / "src/run.py").write_text(MODEL)
        (folder / "src/.cog/openapi_schema.json").write_text(json.dumps(SCHEMA))
        environment = {
            "PATH": os.environ["PATH"], "PORT": str(self.port), "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT / "runtime"), "COG_PREDICT_TYPE_STUB": "run.py:Runner",
            "COGSMITH_SERVER_PATH": str(Path(specification.origin).parent.parent), "COG_LOG_LEVEL": "error",
        }  # fmt: skip
        self.output = folder / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
                cwd=folder / "src", env=environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """On a connection of its own; OSError if there is no answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            data = json.dumps(body).encode()
            lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json"]
            lines += [f"Content-Length: {len(data)}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            writer.write("\r\n".join(lines).encode() + data)
            answer = await reader.read()
            head, _, text = answer.partition(b"\r\n\r\n")
            if not head:
                raise ConnectionError("no answer")
            return int(head[9:12]), json.loads(text)
        finally:
            writer.close()

    async def ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if (await self.request("GET", "/health-check"))[1]["status"] == "READY":
                    return
            await asyncio.sleep(0.02)
        raise TimeoutError(f"never READY\n{self.output.read_text()[-2000:]}")

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()
        ]

    def held(self) -> dict[str, int]:
        """What it holds now: descriptors, threads, processes, files."""
        own = Path(f"/proc/{self.process.pid}")
        return {
            "descriptors": len(list((own / "fd").iterdir())),
            "threads": len(list((own / "task").iterdir())),
            "workers": len(self.workers()),
            "sleepers": sum(1 for parent in _sessions(self.temporary)),
        }


def _sessions(temporary: Path) -> list[int]:
    """Processes that have the server's temporary folder in their environment, and sleep as the model's children do."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                process.name.isdigit()
                and (process / "cmdline").read_bytes().startswith(b"sleep\x00300")
                and f"TMPDIR={temporary}".encode() in (process / "environ").read_bytes().split(b"\0")
            ):
                found.append(int(process.name))
    return found


class Load:
    """The clients, the killer, and what came of it."""

    def __init__(self, server: Server, receiver: Receiver, url: str, *, seed: int) -> None:
        self._server, self._receiver, self._url = server, receiver, url
        self._random = random.Random(seed)
        self.accepted: dict[str, str | None] = {}
        self.statuses: Counter[str] = Counter()
        self.kills = 0
        self.problems: list[str] = []

    async def client(self, name: int, until: float) -> None:
        count = 0
        while time.monotonic() < until:
            count += 1
            identity = f"{name}-{count}"
            body = {"input": {"n": self._random.randrange(1000)}, "webhook": self._url}
            wait = self._random.random() < 0.5
            headers = {} if wait else {"Prefer": "respond-async"}
            try:
                status, answer = await self._server.request("PUT", f"/predictions/{identity}", body, **headers)
            except (OSError, ValueError) as problem:
                self.problems.append(f"{identity}: {type(problem).__name__}: {problem}")
                continue
            self.statuses[str(status)] += 1
            if status in (200, 202):
                self.accepted[identity] = answer["status"] if status == 200 else None
            elif status in (409, 503):
                await asyncio.sleep(0.005)
            else:
                self.problems.append(f"{identity}: {status} {answer}")

    async def kill(self, until: float, *, every: float) -> None:
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(self._random.uniform(0.5, 1.5) * every, max(until - now, 0)))
            for worker in self._server.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    self.kills += 1

    async def told(self) -> None:
        """Wait until the webhooks have told the end of every prediction."""
        deadline = time.monotonic() + PATIENCE
        while set(self.accepted) - set(self._receiver.final) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def check(self) -> None:
        final = self._receiver.final
        for identity, status in self.accepted.items():
            told = final.get(identity, set())
            if len(told) != 1 or (status is not None and told != {status}):
                self.problems.append(f"{identity}: answered {status}, told {sorted(told)}")


async def quiet(server: Server, before: dict[str, int]) -> dict[str, int]:
    """What is held once nothing shrinks any more."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        now = server.held()
        if all(now[name] <= before[name] for name in before if name != "threads"):
            break
        await asyncio.sleep(0.1)
    return now


async def run(
    folder: Path, *, seconds: float, clients: int, every: float, seed: int
) -> tuple[dict[str, Any], list[str]]:
    server, receiver = Server(folder), Receiver()
    try:
        url = await receiver.start()
        await server.ready()
        await asyncio.gather(*(server.request("POST", "/predictions", {"input": {"n": 1}}) for _ in range(4)))
        before = server.held()
        load = Load(server, receiver, url, seed=seed)
        until = time.monotonic() + seconds
        await asyncio.gather(load.kill(until, every=every), *(load.client(index, until) for index in range(clients)))
        await load.told()
        load.check()
        await server.ready()
        for worker in server.workers():  # and with it the children that the model left
            os.kill(worker, signal.SIGKILL)
        await asyncio.sleep(0.2)
        await server.ready()
        await receiver.close()
        after = await quiet(server, before)
        load.problems += [
            f"{name}: {before[name]} before, {after[name]} after"
            for name in before
            if after[name] > before[name] + (40 if name == "threads" else 0)  # of an executor, which keeps them
        ]
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.process.wait, PATIENCE)
        if code:
            load.problems.append(f"exit code {code}")
        ours = [path.name for path in server.temporary.iterdir() if path.name.startswith("cogsmith-")]
        load.problems += [f"left behind: {name}" for name in ours]
        if "Exception in ASGI" in server.output.read_text(errors="replace"):
            load.problems.append("an exception in the server, see its output")
        figures = {
            "accepted": len(load.accepted), "per_second": round(len(load.accepted) / seconds),
            "answers": dict(load.statuses), "files_of_killed_models": len(list(server.temporary.iterdir())) - len(ours),
            "webhooks": receiver.count, "workers_killed": load.kills, "before": before, "after": after,
            "ends": dict(Counter(next(iter(told)) for told in receiver.final.values())),
        }  # fmt: skip
        return figures, load.problems
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        for number in _sessions(server.temporary):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds, on average")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures, problems = asyncio.run(
            run(Path(folder), seconds=given.seconds, clients=given.clients, every=given.kill_every, seed=given.seed)
        )
    print(json.dumps({**figures, "problems": problems[:50]}, indent=2))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
