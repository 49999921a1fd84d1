"""Releases and indexes from real servers on loopback: what is genuine is read, what is not is refused."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import http.server
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest
import requests
import small_debs

from builder.errors import FetchError, ResolveError
from builder.fetch import default_session, ensure
from builder.plan import Deb, Remote, Wheel
from builder.report import Quiet
from builder.resolve import debian, metadata
from builder.resolve.debian import mirror_credentials, resolve_debian, with_mirrors
from builder.resolve.debian.archive import read_archive, read_indexes, read_url
from builder.resolve.debian.index import Index
from builder.resolve.debian.mirrors import session_factory
from builder.resolve.debian.release import archive_keys, check_suite, read_release
from builder.resolve.indexes import origin
from builder.store import Store


class Warnings(Quiet):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def warn(self, text: str) -> None:
        self.seen.append(text)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate("Archive <archive@example.org>")


@pytest.fixture
def keys(key: pysequoia.Tsk) -> bytes:
    return bytes(key.extract_certificate())


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which a web server on loopback serves it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def fill(folder: Path, key: pysequoia.Tsk, suite: str = "bookworm", version: str = "1.0", **options: object) -> None:
    pool = folder / "pool"
    pool.mkdir(exist_ok=True)
    path = small_debs.deb(pool, "hello", [("./usr/bin/hello", "exec", "hi")], version=version)
    small_debs.release(folder, suite, small_debs.paragraph(path, "pool"), key=key, **options)


def read(url: str, *, keys: bytes, store: Store, report: Quiet | None = None) -> Index:
    return read_archive(
        "bookworm", architecture="amd64", mirrors=[url], keys=keys, store=store, report=report or Quiet()
    )


@pytest.mark.parametrize("suffix", [".xz", ".gz", ""])
@pytest.mark.parametrize("by_hash", [False, True])
def test_a_genuine_archive(mirror, key, keys, store, suffix: str, by_hash: bool) -> None:
    folder, url = mirror
    fill(folder, key, suffix=suffix, by_hash=by_hash)
    package = read(url, keys=keys, store=store).get("hello")
    assert package is not None
    assert (package.version, package.mirrors) == ("1.0", (url,))


def test_a_file_mirror(tmp_path: Path, key, keys, store) -> None:
    folder = tmp_path / "a mirror"
    folder.mkdir()
    fill(folder, key)
    assert read(folder.as_uri(), keys=keys, store=store).get("hello") is not None


def test_updates_win_whichever_suite_they_come_from(mirror, key, keys, store) -> None:
    folder, url = mirror
    fill(folder, key)
    fill(folder, key, suite="bookworm-updates", version="1.0+b1")
    fill(folder, key, suite="bookworm-security", version="1.0+b1~deb12u1")
    report = Warnings()
    package = read(url, keys=keys, store=store, report=report).get("hello")
    assert package is not None
    assert package.version == "1.0+b1"
    assert not report.seen


def test_without_security_updates_it_says_so(mirror, key, keys, store) -> None:
    fill(mirror[0], key)
    report = Warnings()
    read(mirror[1], keys=keys, store=store, report=report)
    assert report.seen == ["no mirror has `bookworm-security`: the base is without security updates"]


def test_every_mirror_with_the_same_release_is_a_place_to_download_from(mirror, tmp_path, key, keys, store) -> None:
    folder, url = mirror
    fill(folder, key)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    index = read_archive(
        "bookworm",
        architecture="amd64",
        mirrors=["http://127.0.0.1:1/debian", url, other.as_uri()],
        keys=keys,
        store=store,
        report=Quiet(),
    )
    package = index.get("hello")
    assert package is not None
    assert package.mirrors == (url, other.as_uri())


def test_changed_release(mirror, key, keys, store) -> None:
    folder, url = mirror
    fill(folder, key)
    path = folder / "dists" / "bookworm" / "InRelease"
    path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Evil"))
    with pytest.raises(ResolveError, match=r"the signature of .*InRelease` is not one of Debian's archive keys"):
        read(url, keys=keys, store=store)


def test_text_outside_the_signature_is_not_believed(mirror, key, keys, store) -> None:
    folder, url = mirror
    fill(folder, key)
    path = folder / "dists" / "bookworm" / "InRelease"
    path.write_bytes(b"Codename: trixie\n\n" + path.read_bytes() + b"Codename: trixie\n")
    try:
        index = read(url, keys=keys, store=store)
    except ResolveError:
        return
    assert index.get("hello") is not None


@pytest.mark.parametrize("content", [b"", b"Suite: bookworm\nCodename: bookworm\n", b"<html>login here</html>"])
def test_unsigned_release(mirror, keys, store, content: bytes) -> None:
    folder, url = mirror
    (folder / "dists" / "bookworm").mkdir(parents=True)
    (folder / "dists" / "bookworm" / "InRelease").write_bytes(content)
    with pytest.raises(ResolveError, match="signature"):
        read(url, keys=keys, store=store)


def test_a_key_that_is_not_trusted(mirror, key, store) -> None:
    fill(mirror[0], key)
    with pytest.raises(ResolveError, match="archive keys") as caught:
        read(mirror[1], keys=archive_keys(), store=store)
    assert "signed by: " in str(caught.value)
    assert "trusted: " in str(caught.value)


def test_an_expired_key(mirror, key, store) -> None:
    fill(mirror[0], key)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    cert = key.extract_certificate().set_expiration(expiration=soon, certifier=key.certifier())
    data = (mirror[0] / "dists" / "bookworm" / "InRelease").read_bytes()
    assert read_release(data, url="x", keys=bytes(cert), now=soon - dt.timedelta(hours=1))
    with pytest.raises(ResolveError, match="the archive keys that signed `x` have expired"):
        read_release(data, url="x", keys=bytes(cert), now=soon + dt.timedelta(hours=1))


def test_another_suite_under_this_name(mirror, key, keys, store) -> None:
    fill(mirror[0], key, codename="trixie")
    text = (mirror[0] / "dists" / "bookworm" / "InRelease").read_bytes()
    assert read_release(text, url="x", keys=keys).codename == "trixie"
    small_debs.release(mirror[0], "trixie", "", key=key)
    shutil.rmtree(mirror[0] / "dists" / "bookworm")
    (mirror[0] / "dists" / "trixie").rename(mirror[0] / "dists" / "bookworm")
    with pytest.raises(ResolveError, match="is the release `trixie`, not `bookworm`"):
        read(mirror[1], keys=keys, store=store)


def test_a_release_that_is_too_old(mirror, key, keys) -> None:
    fill(mirror[0], key, extra="Valid-Until: Sat, 01 Feb 2025 00:00:00 UTC\n")
    data = (mirror[0] / "dists" / "bookworm" / "InRelease").read_bytes()
    utc = dt.UTC
    release = read_release(data, url="x", keys=keys, now=dt.datetime(2025, 1, 31, tzinfo=utc))
    check_suite(release, wanted="bookworm", url="x")
    late = dt.datetime(2025, 2, 2, tzinfo=utc)
    with pytest.raises(ResolveError, match="valid until Sat, 01 Feb 2025"):
        read_release(data, url="x", keys=keys, now=late)
    read_release(data, url="http://x.example/debian/20250131T000000Z/dists/bookworm", keys=keys, now=late)


def test_changed_index(mirror, key, keys, store) -> None:
    folder, url = mirror
    fill(folder, key)
    path = folder / "dists" / "bookworm" / "main" / "binary-amd64" / "Packages.xz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(FetchError, match="bookworm packages"):
        read(url, keys=keys, store=store)


def test_an_index_that_is_gone(mirror, key, keys, store) -> None:
    folder, url = mirror
    fill(folder, key)
    (folder / "dists" / "bookworm" / "main" / "binary-amd64" / "Packages.xz").unlink()
    with pytest.raises(FetchError, match="bookworm packages"):
        read(url, keys=keys, store=store)


def test_an_architecture_that_the_suite_lacks(mirror, key, keys, store) -> None:
    fill(mirror[0], key)
    with pytest.raises(ResolveError, match="has no packages for `arm64`"):
        read_archive("bookworm", architecture="arm64", mirrors=[mirror[1]], keys=keys, store=store, report=Quiet())


def test_no_mirror(store) -> None:
    with pytest.raises(ResolveError, match="no Debian mirror is configured") as caught:
        resolve_debian(suite="bookworm", architecture="amd64", mirrors=(), store=store, report=Quiet())
    assert "COGSMITH_DEBIAN_MIRROR" in (caught.value.hint or "")


def test_a_release_that_is_cut_off(monkeypatch) -> None:
    """Also where a wheel's METADATA is looked for, which is then not known."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nMetadata-Version: 2.1")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.whl"
        with default_session() as session, pytest.raises(FetchError, match="could not read"):
            read_url(url, session=session)
        wheel = Wheel(name="x", version="1", filename="x-1-py3-none-any.whl", size=1000, sha256="0" * 64)
        assert metadata._remote(wheel, urls=[url], new_session=default_session) is None
        thread.join()


def test_a_mirror_without_the_suite(mirror, store) -> None:
    with pytest.raises(ResolveError, match="no Debian mirror has the suite `bookworm`") as caught:
        resolve_debian(suite="bookworm", architecture="amd64", mirrors=[mirror[1]], store=store, report=Quiet())
    assert "COGSMITH_DEBIAN_MIRROR" in (caught.value.hint or "")


def test_no_network(store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/debian"
        with pytest.raises(ResolveError, match="no Debian mirror has the suite") as caught:
            resolve_debian(suite="bookworm", architecture="amd64", mirrors=[url], store=store, report=Quiet())
    assert "refused" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_credentials_of_a_mirror_are_used_and_in_nothing_that_is_kept(tmp_path, key, keys, store, monkeypatch) -> None:
    """Index files and packages come from a server that wants a password; the lock does not have it."""
    folder = tmp_path / "mirror"
    (folder / "pool").mkdir(parents=True)
    text = ""
    for name in ("base", "python3.11-minimal"):
        path = small_debs.deb(folder / "pool", name, [("./usr/bin/x", "exec", name)], version="3.11.2-6")
        text += small_debs.paragraph(path, "pool")
    small_debs.release(folder, "bookworm", text, key=key)
    wanted = "Basic " + base64.b64encode(b"smith:s@cret/").decode()
    refused = []

    class Guarded(Handler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                refused.append(self.path)
                self.send_error(401)
            else:
                super().do_GET()

    monkeypatch.setattr(debian, "PACKAGES", {"bookworm": ("base", "python3.11-minimal")})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Guarded, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        mirror = f"http://smith:s%40cret%2F@{host}/?token=other-secret"
        base, _, remotes = resolve_debian(
            suite="bookworm", architecture="amd64", mirrors=[mirror], store=store, report=Quiet(), keys=keys
        )
        server.shutdown()
        thread.join()
    assert [remote.urls for remote in remotes] == [(f"http://{host}/{deb.filename}",) for deb in base.debs]
    assert len(remotes) == 2
    assert all(store.has_file(deb.sha256) for deb in base.debs)
    assert not refused


def test_what_was_chosen_is_remembered_until_an_index_changes(mirror, key, keys, store, monkeypatch) -> None:
    folder, url = mirror
    pool = folder / "pool"
    pool.mkdir()
    monkeypatch.setattr(debian, "PACKAGES", {"bookworm": ("python3.11-minimal",)})
    read = []
    monkeypatch.setattr(debian, "read_indexes", lambda *a, **k: read.append(1) or read_indexes(*a, **k))

    def resolve(version: str | None = None, **change: object):
        if version:
            path = small_debs.deb(pool, "python3.11-minimal", version=version)
            text = small_debs.paragraph(path, "pool", Essential="yes")
            small_debs.release(folder, "bookworm", text, key=key)
        asked = {"suite": "bookworm", "architecture": "amd64", "mirrors": [url], "store": store, "keys": keys}
        return resolve_debian(**{**asked, "report": Quiet(), **change})

    first = resolve("3.11.2-1")
    assert resolve() == first
    assert len(read) == 1
    second = resolve("3.11.2-2")
    assert [deb.version for deb in second[0].debs] == ["3.11.2-2"]
    assert len(read) == 2
    elsewhere = resolve(mirrors=[folder.as_uri()])
    assert elsewhere[0] == second[0]
    assert elsewhere[2][0].urls[0].startswith("file:")
    assert len(read) == 3
    with pytest.raises(ResolveError, match=r"signature|signed"):  # what is remembered is asked for by a signed release
        resolve(keys=bytes(pysequoia.Tsk.generate("Else <x@example.org>").extract_certificate()))


def test_credentials_by_origin() -> None:
    mirrors = ["https://smith:p%40ss@m.example:8443/debian", "http://plain.example/debian", "file:///srv/mirror",
               "https://token@t.example/debian", "https://other:one@m.example:8443/debian-security"]  # fmt: skip
    known = mirror_credentials(mirrors)
    assert known == {"https://m.example:8443": ("smith", "p@ss"), "https://t.example:": ("token", "")}
    assert {origin(f"https://{place}/pool/x.deb") for place in ("m.example:8443", "t.example")} == set(known)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://m.example/debian/x.deb", "Basic " + base64.b64encode(b"smith:pass").decode()),
        ("https://m.example/debian/x.deb", None),
        ("http://m.example:81/debian/x.deb", None),
        ("http://netrc.example/x.deb", "Basic " + base64.b64encode(b"u:p").decode()),
    ],
)
def test_credentials_go_to_their_origin_only(url: str, sent: str | None, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "netrc").write_text("machine netrc.example login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session = session_factory(mirror_credentials(["http://smith:pass@m.example/debian"]))()
    assert session.prepare_request(requests.Request("GET", url)).headers.get("Authorization") == sent


def test_a_lock_behind_another_mirror(mirror, tmp_path: Path, store) -> None:
    folder, url = mirror
    deb_folder = folder / "debian-security" / "pool" / "updates"
    deb_folder.mkdir(parents=True)
    path = small_debs.deb(deb_folder, "hello")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    filename = f"pool/updates/{path.name}"
    deb = Deb(package="hello", version="1.0", architecture="amd64", filename=filename, size=path.stat().st_size,
              sha256=sha256)  # fmt: skip
    locked = f"http://127.0.0.1:1/debian/{filename}"
    remote = Remote(sha256=sha256, size=deb.size, name=path.name, urls=(locked,))
    wheel = Remote(sha256="0" * 64, size=1, name="a.whl", urls=("http://w.example/a.whl",))
    mirrors = [f"{url.replace('//', '//smith:secret@')}/debian/", "http://127.0.0.1:1/debian"]
    found = with_mirrors((wheel, remote), debs=(deb,), mirrors=mirrors)
    assert found[0] is wheel
    assert found[1].urls == (
        locked,
        f"{url}/debian-security/{filename}",
        f"http://127.0.0.1:1/debian-security/{filename}",
        f"{url}/debian/{filename}",
    )
    paths = ensure(found[1:], store=store, report=Quiet(), pauses=())
    assert paths[sha256].read_bytes() == path.read_bytes()
    assert with_mirrors(found, debs=(deb,), mirrors=mirrors) == found


def test_an_unknown_suite(store) -> None:
    with pytest.raises(ResolveError, match="`sid` is not a Debian suite that can be a base"):
        resolve_debian(suite="sid", architecture="amd64", mirrors=["file:/x"], store=store, report=Quiet())


@pytest.mark.network
def test_a_real_release_tampered_with(mirror, mirrors, store) -> None:
    """A copy of a real mirror's release is genuine, and no longer so once a hash in it is changed."""
    data = next(
        found
        for place in mirrors
        if (found := read_url(f"{place}/dists/bookworm/InRelease", session=default_session()))
    )
    assert read_release(data, url="x", keys=archive_keys()).codename == "bookworm"
    folder, url = mirror
    (folder / "dists" / "bookworm").mkdir(parents=True)
    at = data.index(b"main/binary-amd64/Packages.xz") - 80
    changed = data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :]
    (folder / "dists" / "bookworm" / "InRelease").write_bytes(changed)
    with pytest.raises(ResolveError, match="is not one of Debian's archive keys"):
        resolve_debian(suite="bookworm", architecture="amd64", mirrors=[url], store=store, report=Quiet())
