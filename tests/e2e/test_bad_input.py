"""What goes wrong for users: one clear error with a hint, an exit code, and a store that still works."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.lock import dumps, loads
from builder.store import Store
from tests.conftest import Cogsmith, Done
from tests.progress import Progress

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]

DEAD = "http://127.0.0.1:9"
OFFLINE = {"http_proxy": DEAD, "https_proxy": DEAD, "HTTP_PROXY": DEAD, "HTTPS_PROXY": DEAD, "no_proxy": ""}


def error(done: Done) -> str:
    """The one error of a failed run; it must have a hint."""
    assert done.code not in (0, 2), done
    lines = done.err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.err
    assert len([line for line in lines if line.startswith("hint: ")]) == 1, done.err
    assert done.out == ""
    return done.err


def intact(cogsmith: Cogsmith, *, seen: set[tuple[Path, int, int, int, int]] = set()) -> None:  # noqa: B006
    """Every blob is what its name says, and nothing half-written lies about.

    What was read before and has neither been replaced nor written to since is not read again.
    """
    root = cogsmith.cache / "cogsmith"
    with Store.open(root) as store:
        for path in (*(root / "blobs" / "sha256").iterdir(), *(root / "files" / "sha256").iterdir()):
            stat = path.stat()
            state = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            if state not in seen:
                with path.open("rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == path.name
                seen.add(state)
        store.images()


def write(folder: Path, *, requirements: str | None = None, yaml: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    more = "\n  python_requirements: requirements.txt" if requirements is not None else ""
    text = yaml if yaml is not None else f'build:\n  python_version: "3.11"{more}\nrun: "run.py:Runner"\n'
    (folder / "cog.yaml").write_text(text)
    (folder / "run.py").write_text(
        "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return 'x'\n"
    )
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
    return folder


def wheel(folder: Path, name: str, *, files: dict[str, bytes], lie: Callable[[Path], None] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for file, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{file},sha256={digest},{len(data)}\n"
    contents[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in contents.items():
            archive.writestr(zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    if lie:
        lie(path)
    return path


def test_no_cog_yaml(fresh: Cogsmith, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert f"cog.yaml not found in {tmp_path}/empty" in error(fresh("build", cwd=tmp_path / "empty", ok=False))


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("build: [", "YAML"),
        ("just text", "mapping"),
        ("build:\n  python_version: banana\nrun: 7\n", "build.python_version"),
        ('build:\n  python_version: "3.11"\nrun: "run"\n', "must be in the form"),
        ('build:\n  python_version: "3.11"\n  system_packages: {git: 1}\nrun: "run.py:Runner"\n', "build.system"),
        ('build:\n  python_version: "3.12"\nrun: "run.py:Runner"\n', "base_image"),
        ('build:\n  python_version: "3.11"\n  python_requirements: none.txt\nrun: "run.py:Runner"\n', "none.txt"),
        ("build:\n  python_version: &a [*a, *a]\n", "aliases"),
    ],
)
def test_malformed_cog_yaml(fresh: Cogsmith, tmp_path: Path, yaml: str, said: str) -> None:
    assert said in error(fresh("build", cwd=write(tmp_path / "p", yaml=yaml), ok=False))


def test_missing_or_broken_source(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p")
    (folder / "run.py").write_text("class Runner(:\n")
    assert "run.py" in error(cogsmith("build", cwd=folder, ok=False))
    (folder / "run.py").unlink()
    assert "run.py" in error(cogsmith("build", cwd=folder, ok=False))


def test_unknown_package(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", requirements="no-such-package-of-cogsmith==1\n")
    assert "no-such-package-of-cogsmith" in error(cogsmith("build", cwd=folder, ok=False))


def test_unknown_version(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", requirements="six==99.9\n")
    said = error(cogsmith("build", cwd=folder, ok=False))
    assert "six" in said
    assert "99.9" in said


def test_hash_that_does_not_match(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", requirements="six==1.17.0\n")
    cogsmith("lock", "--no-layers", cwd=folder)
    path = folder / "pylock.cog.toml"
    lock = loads(path.read_text())
    sha256 = lock.wheels[0].sha256
    path.write_text(path.read_text().replace(sha256, "0" * 64))
    said = error(cogsmith("build", "--locked", cwd=folder, ok=False))
    assert sha256 in said
    assert "0" * 64 in said
    intact(cogsmith)


def lie_about_size(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.index(b"PK\x01\x02") + 4)
    data[at + 24 : at + 28] = (5).to_bytes(4, "little")  # the uncompressed size in the central directory
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "files", "lie"),
    [
        ("climber", {"../../../etc/evil": b"x"}, None),
        ("absolute", {"/etc/evil": b"x"}, None),
        ("liar", {"liar/data.txt": b"x" * 100_000}, lie_about_size),
        ("driver", {"C:\\evil.txt": b"x"}, None),
    ],
)
def test_hostile_wheel(
    cogsmith: Cogsmith, tmp_path: Path, name: str, files: dict[str, bytes], lie: Callable[[Path], None] | None
) -> None:
    links = tmp_path / "links"
    wheel(links, name, files=files, lie=lie)
    folder = write(tmp_path / "p", requirements=f"{name}==1.0\n")
    said = error(cogsmith("build", cwd=folder, ok=False, env={"UV_FIND_LINKS": str(links)}))
    assert name in said
    intact(cogsmith)


def test_full_disk(cogsmith: Cogsmith, tmp_path: Path, tool: Callable[[str], str]) -> None:
    if os.getuid() != 0:
        pytest.skip("not root, so no small file system can be mounted")
    folder = write(tmp_path / "p", requirements="six==1.17.0\n")
    cogsmith("lock", "--no-layers", cwd=folder)
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=8m tmpfs {small} && "
        f"{sys.executable} -m builder.cli build --locked; code=$?; "
        f"ls -A {small}/cogsmith/blobs/sha256; exit $code"
    )
    done = subprocess.run(
        [tool("unshare"), "--mount", "sh", "-c", script],
        cwd=folder,
        env=cogsmith.env({"XDG_CACHE_HOME": str(small)}),
        capture_output=True,
        text=True,
        check=False,
    )
    said = error(Done(done.returncode, done.stdout, done.stderr))
    assert "space" in said
    assert "Traceback" not in said


def test_no_network_with_a_lock_works(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", requirements="six==1.17.0\n")
    cogsmith("lock", cwd=folder)
    assert cogsmith("build", "--locked", cwd=folder, env=OFFLINE).out.startswith("sha256:")


def test_no_network_without_a_lock(fresh: Cogsmith, tmp_path: Path) -> None:
    said = error(fresh("build", cwd=write(tmp_path / "p"), ok=False, env=OFFLINE))
    assert "network" in said or "reach" in said


def test_no_network_and_a_file_missing(cogsmith: Cogsmith, fresh: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", requirements="six==1.17.0\n")
    cogsmith("lock", "--no-layers", cwd=folder)
    said = error(fresh("build", "--locked", cwd=folder, env=OFFLINE, ok=False))
    assert "network" in said or "reach" in said or "download" in said


@pytest.fixture
def cutting(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of a folder that cuts the connection once for each wheel, in its middle."""
    folder = tmp_path / "served"
    folder.mkdir()
    cut: set[str] = set()

    class Cutting(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

        def copyfile(self, source: Any, outputfile: Any) -> None:
            if self.path.endswith(".whl") and self.path not in cut:
                cut.add(self.path)
                outputfile.write(source.read(100_000))
                outputfile.flush()
                self.connection.close()
                return
            super().copyfile(source, outputfile)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cutting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    assert cut, "no download was interrupted"


def test_interrupted_download(cogsmith: Cogsmith, tmp_path: Path, cutting: tuple[str, Path]) -> None:
    url, served = cutting
    path = wheel(served, "cutter", files={"cutter/data.bin": os.urandom(1_000_000)})
    folder = write(tmp_path / "p", requirements="cutter==1.0\n")
    cogsmith("lock", "--no-layers", cwd=folder, env={"UV_FIND_LINKS": str(served)})
    lock = loads((folder / "pylock.cog.toml").read_text())
    assert str(path) in dumps(lock) or path.name in dumps(lock)
    text = (folder / "pylock.cog.toml").read_text()
    for found in {word for word in text.replace('"', " ").split() if word.endswith(path.name) and word != path.name}:
        text = text.replace(f'path = "{found}"', f'url = "{url}/{path.name}"').replace(found, f"{url}/{path.name}")
    (folder / "pylock.cog.toml").write_text(text)
    sha256 = lock.wheels[0].sha256
    (cogsmith.cache / "cogsmith" / "files" / "sha256" / sha256).unlink(missing_ok=True)
    assert cogsmith("build", "--locked", cwd=folder).out.startswith("sha256:")
    intact(cogsmith)


def test_two_builds_at_once(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", requirements="six==1.17.0\n")
    (folder / "large.bin").write_bytes(os.urandom(30_000_000))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "builder.cli", "build", "-t", f"together:{number}"],
            cwd=folder,
            env=cogsmith.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    outs = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outs
    assert len({out for out, _ in outs}) == 1
    intact(cogsmith)


def test_killed_build(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = write(tmp_path / "p")
    with (folder / "large.bin").open("wb") as large:
        large.write(os.urandom(1000))
        large.truncate(300_000_000)
    progress = Progress()
    process = subprocess.Popen(
        [sys.executable, "-m", "builder.cli", "build", "-t", "killed", "--progress", "tty"],
        cwd=folder,
        env=cogsmith.env(),
        stdout=subprocess.DEVNULL,
        stderr=progress.fileno(),
        start_new_session=True,
    )
    progress.until("packing /src/large.bin")
    os.killpg(process.pid, signal.SIGKILL)
    progress.all()
    process.wait()
    assert cogsmith("image", "inspect", "killed", ok=False).code != 0
    assert cogsmith("build", "-t", "killed", cwd=folder).out.startswith("sha256:")
    intact(cogsmith)
