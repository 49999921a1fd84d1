"""Large files by URL: they arrive whole, nothing else can be had, and neither side holds them in memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from builder.engine.handover import Handover
from builder.engine.inputs import LARGE, Files, parse, parse_json
from tests.conftest import ROOT

URI = {"components": {"schemas": {"Input": {"properties": {"x": {"type": "string", "format": "uri"}}}}}}
LIST = {
    "components": {
        "schemas": {"Input": {"properties": {"x": {"type": "array", "items": {"type": "string", "format": "uri"}}}}}
    }
}
TEXT = {"components": {"schemas": {"Input": {"properties": {"x": {"type": "string"}}}}}}


def get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        data: bytes = answer.read()
        return data


def test_only_what_was_named_and_only_by_its_url(tmp_path: Path) -> None:
    (tmp_path / "a b#ü.bin").write_bytes(b"\0content")
    (tmp_path / "other").write_bytes(b"secret")
    with Handover() as handover:
        url = handover.url(tmp_path / "a b#ü.bin")
        assert url.endswith("/a%20b%23%C3%BC.bin")
        assert get(url) == b"\0content"
        again = handover.url(tmp_path / "a b#ü.bin")
        assert again != url  # nobody can guess it
        base = url.rsplit("/", 2)[0]
        for path in ("/", "/other", f"/{url.split('/')[3]}/other", f"/{url.split('/')[3]}/../other", "//etc/passwd"):
            with pytest.raises(urllib.error.HTTPError) as problem:
                get(base + path)
            assert problem.value.code == 404
        (tmp_path / "a b#ü.bin").unlink()
        with pytest.raises(urllib.error.HTTPError):
            get(url)
    with pytest.raises(OSError):
        get(url)


def test_nothing_runs_before_the_first_url() -> None:
    code = (
        "import sys, threading\n"
        "from builder.engine.handover import Handover\n"
        "with Handover(): pass\n"
        "assert threading.active_count() == 1\n"
        "assert 'http.server' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("schema", "size", "by_url"),
    [(URI, LARGE, True), (URI, LARGE - 1, False), (LIST, LARGE, True), (TEXT, LARGE, False), (None, LARGE, False)],
    ids=["file", "small", "list", "text", "unknown"],
)
def test_which_files_go_by_url(tmp_path: Path, schema: dict[str, object] | None, size: int, by_url: bool) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(size)
    files = Files(folder=tmp_path, send=lambda path: f"http://127.0.0.1/{path.name}")
    for values in (parse(["x=@f"], schema=schema, files=files), parse_json('{"x": "@f"}', schema=schema, files=files)):
        found = values["x"][0] if isinstance(values["x"], list) else values["x"]
        assert found.startswith("http://127.0.0.1/f" if by_url else "data:application/octet-stream;base64,")


def test_memory(tmp_path: Path) -> None:
    """Half a gigabyte goes through this process in no more than the room for a few buffers."""
    size = 512 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"middle")
    code = f"""
import hashlib, urllib.request
from pathlib import Path
from builder.engine.handover import Handover
from builder.engine.inputs import Files, parse
def peak():  # not `ru_maxrss`, which remembers the process before exec
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak()
with Handover() as handover:
    url = parse(["x=@large"], schema={URI!r}, files=Files(folder=Path({str(tmp_path)!r}), send=handover.url))["x"]
    read = hashlib.sha256()
    with urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(url) as answer:
        while chunk := answer.read(1 << 20):
            read.update(chunk)
print(read.hexdigest(), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    digest, kilobytes = done.stdout.split()
    with (tmp_path / "large").open("rb") as file:
        assert digest == hashlib.file_digest(file, "sha256").hexdigest()
    assert int(kilobytes) < 64 << 10
    os.truncate(tmp_path / "large", 0)
