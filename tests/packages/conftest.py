"""System packages: small signed archives on loopback, and this machine's own apt asked as an image's would be."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pysequoia
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "debian"))

import small_debs

from builder.lock import DebianBase
from builder.plan import Deb
from builder.report import Quiet
from builder.resolve.apt.archives import Archives, own_archives
from builder.resolve.apt.image import FOLDER
from builder.store import Store

STATUS = """Package: {name}
Status: install ok installed
Version: {version}
Architecture: amd64
Maintainer: T <t@example.org>
Description: a test
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Lines(Quiet):
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


class FilesImage:
    """An image of a few files; no program of it can be run."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)

    def read(self, path: str, /) -> bytes | None:
        return self.files.get(path)

    def names(self, folder: str, /) -> Sequence[str]:
        return sorted(path.rpartition("/")[2] for path in self.files if path.rpartition("/")[0] == folder)

    def ask(self, argv: Sequence[str], /, *, env: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
        raise AssertionError("nobody should ask it")


class HostImage(FilesImage):
    """An image whose apt is this machine's: a real apt over the lists that it is given, and a status file."""

    def __init__(self, work: Path, installed: Mapping[str, str]) -> None:
        status = "".join(STATUS.format(name=name, version=version) + "\n" for name, version in installed.items())
        super().__init__({"var/lib/dpkg/status": status.encode()})
        self.work = work
        self.asked: list[list[str]] = []

    def ask(self, argv: Sequence[str], /, *, env: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
        status = self.work / "status"
        status.write_bytes(self.files["var/lib/dpkg/status"])
        own = {
            "APT::Architecture": "amd64",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::status": status,
            "Dir::State::extended_states": self.work / "extended",
        }
        words = [word.replace(FOLDER, os.fspath(folder)) for word in argv]
        words[1:1] = [part for name, value in own.items() for part in ("-o", f"{name}={value}")]
        self.asked.append(words)
        done = subprocess.run(words, env=dict(env), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


class Mirror:
    """An archive that a web server on loopback serves; packages are added, then it is `sign`ed."""

    def __init__(self, folder: Path, url: str, key: pysequoia.Tsk) -> None:
        self.folder, self.url, self.key = folder, url, key
        self.text: dict[str, str] = {}
        (folder / "pool").mkdir(parents=True)

    def add(self, name: str, *, version: str = "1.0", suite: str = "bookworm", **fields: str) -> Path:
        path = small_debs.deb(self.folder / "pool", name, version=version, fields=_dashed(fields))
        self.text[suite] = self.text.get(suite, "") + small_debs.paragraph(path, "pool", **_dashed(fields))
        return path

    def sign(self) -> None:
        for suite, text in self.text.items():
            small_debs.release(self.folder, suite, text, key=self.key)

    def forget(self) -> None:
        """What a mirror does when there is a newer version: the index is without the old one, and its file is gone."""
        shutil.rmtree(self.folder / "dists")
        for path in (self.folder / "pool").iterdir():
            path.unlink()
        self.text = {}

    def archives(self, store: Store) -> Archives:
        base = DebianBase(suite="bookworm", architecture="amd64", debs=())
        keys = bytes(self.key.extract_certificate())
        return own_archives(base, mirrors=[self.url], store=store, report=Quiet(), keys=keys)


def _dashed(fields: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


def base_of(installed: Mapping[str, str]) -> DebianBase:
    debs = tuple(
        Deb(package=name, version=version, architecture="amd64", filename=f"pool/{name}.deb", size=1, sha256="0" * 64)
        for name, version in installed.items()
    )
    return DebianBase(suite="bookworm", architecture="amd64", debs=debs)


@pytest.fixture(scope="session")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate("Archive <archive@example.org>")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves folders on loopback while a test runs; the URL of each."""
    servers = []

    def start(folder: Path, handler: type[http.server.SimpleHTTPRequestHandler] = Handler) -> str:
        made = functools.partial(handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), made)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mirror(tmp_path: Path, serve: Callable[[Path], str], key: pysequoia.Tsk) -> Mirror:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return Mirror(folder, serve(folder), key)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., HostImage]:
    """Makes images whose apt is this machine's; skips, aloud, where there is none."""
    if shutil.which("apt-get") is None:
        pytest.skip("this machine has no apt-get")

    def make(**installed: str) -> HostImage:
        return HostImage(tmp_path, installed)

    return make
