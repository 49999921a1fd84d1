"""The examples that need no package: each built, run and checked.  They share all layers but their code."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Cogsmith
from tests.ports import reserved_port

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello"), pytest.mark.usefixtures("containers")]


@pytest.fixture
def example(locked_hello: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an example with the lock of hello-world: they ask for the same."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(ROOT / "examples" / name, folder)
        shutil.copy(locked_hello / "pylock.cog.toml", folder)
        return folder

    return copy


@contextlib.contextmanager
def serving(cogsmith: Cogsmith, folder: Path) -> Iterator[str]:
    """`cogsmith serve` of a project, ready: the server's URL."""
    command = [sys.executable, "-m", "builder.cli", "serve", "-p"]
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        reserved_port() as port,
        subprocess.Popen([*command, str(port)], cwd=folder, env=cogsmith.env(), **quiet) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            status = ""
            while status != "READY":
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, status
                time.sleep(0.1)
                with contextlib.suppress(OSError):
                    status = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/health-check"))["status"]
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0


def post(url: str, **inputs: Any) -> Any:
    """One prediction's answer."""
    request = urllib.request.Request(
        f"{url}/predictions",
        data=json.dumps({"input": inputs}).encode(),
        headers={"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request, timeout=60))


def test_every_example_is_tested_and_told_of() -> None:
    names = {path.parent.name for path in (ROOT / "examples").glob("*/cog.yaml")}
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*examples.py"))
    listed = (ROOT / "examples" / "README.md").read_text()
    for name in names:
        assert f'"{name}"' in tests or f'examples/{name}"' in tests, f"{name} has no test"
        assert f"[{name}]({name})" in listed
        assert (ROOT / "examples" / name / "README.md").read_text().strip()


def test_streaming(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    folder = example("streaming")
    assert json.loads(cogsmith("run", "-i", "text=a few words", cwd=folder).out) == ["a", " few", " words"]
    schema = json.loads(cogsmith("schema", cwd=folder).out)
    assert schema["paths"]["/predictions"]["post"]["x-cog-streaming"] is True


def test_concurrent(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    """Four predictions, each of which waits for the others: one after the other none would end."""
    with serving(cogsmith, example("concurrent")) as url, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(url, guests=4), range(4)))
    assert {answer["status"] for answer in answers} == {"succeeded"}
    assert "4 together" in {answer["output"] for answer in answers}
    assert max(answer["metrics"]["together"] for answer in answers) == 4


def test_archive(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    folder = example("archive")
    inputs = ["-i", "files=@cog.yaml", "-i", "files=@run.py", "-i", "files=@README.md", "-i", "parts=2"]
    done = cogsmith("run", *inputs, "-o", "made", cwd=folder)
    assert done.out == ""
    assert [line for line in done.err.splitlines() if line.startswith("Written")] == [
        f"Written output to: {folder}/made.{number}.zip" for number in range(2)
    ]
    with zipfile.ZipFile(folder / "made.0.zip") as first, zipfile.ZipFile(folder / "made.1.zip") as second:
        assert [name[:2] for name in first.namelist()] == ["0-", "2-"]
        assert [second.read(name) for name in second.namelist()] == [(folder / "run.py").read_bytes()]


def test_structured(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    folder = example("structured")
    done = cogsmith("run", "-i", "text=b a b", "-i", "order=count", cwd=folder)
    output = json.loads(done.out)
    assert output["words"] == [{"text": "b", "count": 2}, {"text": "a", "count": 1}]
    assert (output["lengths"], output["longest"]) == ({"a": 1, "b": 1}, "b")
    assert output["listing"].startswith("data:text/plain;base64,")
    refused = cogsmith("run", "-i", "order=size", cwd=folder, ok=False)
    assert 'invalid input "order": must be one of: text, count' in refused.err
    assert "Building" not in refused.err  # said before anything is built


def test_secret(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    done = cogsmith("run", "-i", "message=hello", "-i", "key=hunter2", cwd=example("secret"))
    assert done.out.strip() == hmac.new(b"hunter2", b"hello", hashlib.sha256).hexdigest()
    assert "signing with **********" in done.err
    assert "hunter2" not in done.err


def test_training(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    folder = example("training")
    (folder / "corpus.txt").write_text("the cat sat on a mat and the cat slept")
    assert cogsmith("run", cwd=folder).out == "hello world\n"
    done = cogsmith("train", "-i", "corpus=@corpus.txt", "-i", "least=2", "-o", "weights.json", cwd=folder)
    assert "`cogsmith train` is deprecated" in done.err
    assert json.loads((folder / "weights.json").read_text()) == {"the": ["cat"]}
    again = cogsmith("run", "-i", "start=the", "-e", "COG_WEIGHTS=/src/weights.json", cwd=folder)
    assert again.out == "the cat\n"


def test_subfolder(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    folder = example("subfolder")
    assert cogsmith("run", "-i", "text=now", "-i", "marks=3", cwd=folder / "models").out == "NOW!!!\n"
    refused = cogsmith("run", "-i", "marks=11", cwd=folder, ok=False)
    assert 'invalid input "marks": must be at most 10' in refused.err


def test_oldest(cogsmith: Cogsmith, example: Callable[[str], Path]) -> None:
    folder = example("oldest")
    done = cogsmith("run", "-i", "word=Again", "-i", "times=3", cwd=folder)
    assert done.out == "again again again\n"
    assert "deprecated" in done.err
    assert 'missing required input "word"' in cogsmith("run", cwd=folder, ok=False).err
