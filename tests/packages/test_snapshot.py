"""Mirrors that lost a file: the next one, then a stand-in for the snapshot service, by hash."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import small_debs

from builder.errors import FetchError
from builder.plan import Deb, Remote
from builder.resolve.debian import with_mirrors
from builder.resolve.debian.snapshot import ensure_anyhow
from builder.store import Store

from .conftest import Lines

Serve = Callable[..., str]


class Snapshot(http.server.SimpleHTTPRequestHandler):
    """The two questions of Debian's service that are asked: which files has a version, and a file by its SHA-1."""

    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        debs = {hashlib.sha1(path.read_bytes()).hexdigest(): path for path in Path(self.directory).glob("*.deb")}
        if parts[0] == "file" and parts[1] in debs:
            data = debs[parts[1]].read_bytes()
        else:
            _, _, name, version, _ = parts
            files = [
                {"architecture": path.stem.split("_")[2], "hash": sha1}
                for sha1, path in debs.items()
                if path.name.startswith(f"{name}_{version.replace(':', '%3a')}_")
            ]
            data = json.dumps({"binary": name, "binary_version": version, "result": files}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Case:
    def __init__(self, folder: Path, serve: Serve, store: Store) -> None:
        self.mirror, self.other, self.kept = (folder / name for name in ("mirror", "other", "kept"))
        for place in (self.mirror / "pool", self.other / "pool", self.kept):
            place.mkdir(parents=True)
        self.path = small_debs.deb(self.kept, "tool", version="1:1.0-1+b1")
        small_debs.deb(self.kept, "tool", version="1:1.0-1+b1", architecture="arm64")
        data = self.path.read_bytes()
        self.deb = Deb(
            package="tool", version="1:1.0-1+b1", architecture="amd64", filename="pool/tool_1.0-1+b1_amd64.deb",
            size=len(data), sha256=hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
        self.handler = type("Handler", (Snapshot,), {"asked": []})
        self.urls = [serve(self.mirror), serve(self.other)]
        self.snapshot = serve(self.kept, self.handler)
        self.store, self.report = store, Lines()

    def fetch(self, *, snapshot: str) -> bytes:
        remote = Remote(
            sha256=self.deb.sha256, size=self.deb.size, name=self.path.name,
            urls=(f"{self.urls[0]}/{self.deb.filename}",),
        )  # fmt: skip
        remotes = with_mirrors([remote], debs=[self.deb], mirrors=self.urls)
        found = ensure_anyhow(remotes, debs=[self.deb], snapshot=snapshot, store=self.store, report=self.report)
        return found[self.deb.sha256].read_bytes()


@pytest.fixture
def case(tmp_path: Path, serve: Serve, store: Store) -> Case:
    return Case(tmp_path, serve, store)


def test_the_next_mirror_has_it(case: Case) -> None:
    shutil.copy(case.path, case.other / case.deb.filename)
    assert case.fetch(snapshot=case.snapshot) == case.path.read_bytes()
    assert case.handler.asked == []


def test_the_snapshot_service_has_it(case: Case) -> None:
    assert case.fetch(snapshot=case.snapshot) == case.path.read_bytes()
    asked, got = case.handler.asked
    assert asked == "/mr/binary/tool/1%3A1.0-1%2Bb1/binfiles"
    assert got == f"/file/{hashlib.sha1(case.path.read_bytes()).hexdigest()}"
    assert case.report.lines == [f"`{case.path.name}` comes from the snapshot archive: no mirror has it"]


def test_nobody_has_it(case: Case) -> None:
    for snapshot in ("", case.snapshot):
        small_debs.deb(case.kept, "tool", version="0.9")
        case.path.unlink(missing_ok=True)
        with pytest.raises(FetchError, match="could not download `tool_") as caught:
            case.fetch(snapshot=snapshot)
        assert (caught.value.details or "").count("HTTP status 404") == 2


def test_another_file_under_its_name_is_refused(case: Case) -> None:
    case.path.write_bytes(bytes(case.deb.size))
    with pytest.raises(FetchError, match="could not download"):
        case.fetch(snapshot=case.snapshot)
    assert not case.store.has_file(case.deb.sha256)


def test_a_service_that_is_none(case: Case, tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(FetchError) as caught:
        case.fetch(snapshot=serve(tmp_path))
    assert "HTTP status 404" in (caught.value.details or "")
    with pytest.raises(FetchError, match="could not ask the snapshot archive"):
        case.fetch(snapshot="http://127.0.0.1:9")
