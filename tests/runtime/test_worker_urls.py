"""Files that are given by their URL: what servers do and what people write."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cog
import pytest
from cog.worker.inputs import InputError, Signature
from interpreters import SUPPORTED, interpreters
from runtime_image import SDK

TEXT = b"0123456789" * 20_000


class Moody(http.server.BaseHTTPRequestHandler):
    """Answers by the path; `asked` tells what it was asked."""

    def do_GET(self) -> None:
        what = unquote(self.path).strip("/").partition("/")[0]
        if what == "no-http":
            self.wfile.write(b"nothing of the kind\r\n\r\n")
            return
        if what in ("301", "308"):
            self.send_response(int(what))
            self.send_header("Location", f"http://{self.headers['Host']}/asked")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = f"{self.path} {self.headers['Authorization']}".encode() if what == "asked" else TEXT
        packed = gzip.compress(body) if "gzip" in what else body
        self.send_response(200)
        if "gzip" in what:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed[: len(packed) // 2] if "short" in what else packed)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def place() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def fetched(url: str, folder: Path) -> bytes:
    def run(file: cog.Path) -> None: ...

    data: bytes = Signature(run).arguments({"file": url}, files=[]).fetch(str(folder))["file"].read_bytes()
    return data


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://{}/asked/a b.txt?q=c d", b"/asked/a%20b.txt?q=c%20d None"),
        ("http://{}/asked/é%20?ü=%C3%BC#x", b"/asked/%C3%A9%20?%C3%BC=%C3%BC None"),
        ("http://me:pa%40ss@{}/asked", b"/asked Basic bWU6cGFAc3M="),
        ("http://me@{}/asked", b"/asked Basic bWU6"),
        ("http://me:pass@{}/301", b"/asked None"),
        ("http://me:pass@{}/308", b"/asked None"),
        ("http://{}/whole", TEXT),
        ("http://{}/gzip", TEXT),
    ],
    ids=["space", "accent", "password", "user", "301", "308", "whole", "gzip"],
)
def test_urls_of_all_kinds(place: str, tmp_path: Path, url: str, expected: bytes) -> None:
    assert fetched(url.format(place), tmp_path) == expected


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("short", "the connection was closed 100000 bytes before the end"),
        ("short-gzip", "bytes before the end"),
        ("no-http", "nothing of the kind"),
    ],
    ids=["short", "gzip", "no-http"],
)
def test_answers_that_are_none(place: str, tmp_path: Path, what: str, error: str) -> None:
    with pytest.raises(InputError, match=f"could not fetch http://.*/{what}: .*{error}"):
        fetched(f"http://{place}/{what}", tmp_path)


def test_an_open_url_reads_as_a_file_does(place: str) -> None:
    file = cog.File.validate(f"http://{place}/gzip")
    assert (file.read(3), file.readline(4), file.read()) == (b"012", b"3456", TEXT[7:])
    assert file.headers["Content-Encoding"] == "gzip"
    buffer = bytearray(5)
    again = cog.File.validate(f"http://{place}/whole")
    assert (again.readinto(buffer), bytes(buffer), again.status) == (5, b"01234", 200)
    with pytest.raises(ConnectionError):
        cog.File.validate(f"http://{place}/short").read()


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_interpreter_fetches(place: str, version: str) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"this machine has no CPython {version}")
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from cog.files import File
for url in sys.argv[2:]:
    try:
        text = File.validate(url).read()
        print(len(text) if len(text) > 99 else text.decode())
    except ConnectionError as problem:
        print(problem)
"""
    urls = [f"http://{it}" for it in (f"{place}/gzip", f"me:x@{place}/asked/é", f"me:x@{place}/308", f"{place}/short")]
    command = [python, "-W", "error", "-B", "-I", "-S", "-c", program, SDK, *urls]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = ["200000", "/asked/%C3%A9 Basic bWU6eA==", "/asked None"]
    assert done.stdout.splitlines()[:3] == expected, done.stderr
    assert done.stdout.endswith("the connection was closed 100000 bytes before the end\n"), done.stderr
