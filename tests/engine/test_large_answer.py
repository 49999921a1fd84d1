"""Answers that do not fit into memory: long `data:` URLs go to files while they come."""

from __future__ import annotations

import base64
import http.server
import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.engine import large, outputs
from builder.engine.large import Large, read_json, whole
from builder.errors import PredictionError

FILE = {"components": {"schemas": {"Output": {"type": "string", "format": "uri"}}}}
MEGABYTES = 200
CHILD = """
import sys
from pathlib import Path
from builder.engine import client, outputs
schema = {"components": {"schemas": {"Output": {"type": "string", "format": "uri"}}}}
answer = client.predict(int(sys.argv[1]), inputs={}, folder=Path(sys.argv[2]))
(file,) = outputs.deliver(answer.output, schema=schema, path=Path("big"), folder=Path(sys.argv[2])).files
# Not `ru_maxrss`, which remembers the process before exec.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(file, file.stat().st_size, peak)
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LONG", 12)
    monkeypatch.setattr(large, "_BASE64_PIECE", 8)


def url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


VALUES: list[Any] = [
    {"output": url(b"abc" * 20), "logs": 'said "data:x" and \\"data:y\\" ' * 3},
    [url(b""), url(b"x" * 99), {"a": [url(b"y")], "data:key": 1, "n": None}],
    {"a": 'data:text/plain,with "quotes" and \\ in it, and longer', "b": "data:text/plain,née à Paris"},
    {"a": '"data:' * 9, "b": "\\", "c": "data:" + "x" * 30, "d": '\\"data:' + "y" * 30 + "\\"},
    "data:short",
    [],
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_however_it_is_cut(value: Any, ascii_only: bool, small: None, tmp_path: Path) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    for seed in range(60):
        stream, dice = io.BytesIO(text), random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        got = read_json(lambda _: stream.read(dice.choice([1, 2, 5, 13, 40])), folder=folder)  # noqa: B023
        assert whole(got) == value


def test_long_ones_are_in_files_and_are_written_as_they_are(small: None, tmp_path: Path) -> None:
    data = os.urandom(1000)
    text = json.dumps({"status": "succeeded", "output": url(data), "other": url(b"")[:12]}).encode()
    answer = read_json(io.BytesIO(text).read, folder=tmp_path)
    assert isinstance(answer["output"], Large)
    assert isinstance(answer["other"], str) or answer["other"].whole() == url(b"")[:12]
    (file,) = outputs.deliver(answer["output"], schema=FILE, path=None, folder=tmp_path).files
    assert (file.name, file.read_bytes()) == ("output.png", data)
    # Where it is no file for the schema, it is the text that it is.
    assert outputs.deliver(answer["output"], schema=None, path=None, folder=tmp_path).text == url(data) + "\n"


def test_what_is_no_base64(small: None, tmp_path: Path) -> None:
    for body, kind in (("?" * 40, "base64"), ("%41" * 20, "charset=utf-8")):
        text = json.dumps(f"data:text/plain;{kind},{body}").encode()
        found = read_json(io.BytesIO(text).read, folder=tmp_path)
        if kind == "base64":
            with pytest.raises(PredictionError, match="not a valid data URL"):
                outputs.deliver(found, schema=FILE, path=Path("x"), folder=tmp_path)
            assert not [path for path in tmp_path.iterdir() if path.name.startswith((".x", "x"))]
        else:
            (file,) = outputs.deliver(found, schema=FILE, path=Path("x"), folder=tmp_path).files
            assert file.read_bytes() == b"A" * 20


def test_an_answer_that_ends_early(small: None, tmp_path: Path) -> None:
    text = json.dumps({"output": url(bytes(500))}).encode()
    for end in (5, 30, 300, len(text) - 1):
        with pytest.raises(ValueError):
            read_json(io.BytesIO(text[:end]).read, folder=tmp_path)


@pytest.fixture
def server() -> Iterator[int]:
    """A server whose every prediction gives MEGABYTES of zeros."""
    piece = base64.b64encode(bytes(3 << 18))
    count = MEGABYTES * 4 // 3
    head, tail = b'{"status": "succeeded", "output": "data:application/octet-stream;base64,', b'"}'

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(head) + count * len(piece) + len(tail)))
            self.end_headers()
            for part in (head, *[piece] * count, tail):
                self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
    yield serving.server_port
    serving.shutdown()
    serving.server_close()


def test_memory(server: int, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CHILD, str(server), str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(large.__file__).parents[2])}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, size, kilobytes = done.stdout.split()
    assert int(size) == MEGABYTES * 4 // 3 * (3 << 18)
    assert Path(name).read_bytes()[-9:] == bytes(9)
    assert int(kilobytes) < 60 << 10  # the interpreter and a few pieces
    (tmp_path / "big").unlink()
