"""Downloads from a real server on loopback that misbehaves on purpose."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moody_server import Handler, Served, Server

from builder.errors import FetchError
from builder.fetch import ensure, without_credentials
from builder.plan import Remote
from builder.report import Quiet
from builder.store import Store

ROOT = Path(__file__).parents[2]
NO_PAUSE = (0.0, 0.0, 0.0)


@pytest.fixture
def served() -> Iterator[Served]:
    state = Served()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"served": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def get(*remotes: Remote, store: Store, report: Quiet | None = None) -> list[bytes]:
    paths = ensure(remotes, store=store, report=report or Quiet(), pauses=NO_PAUSE)
    assert list(paths) == list(dict.fromkeys(remote.sha256 for remote in remotes))
    return [paths[remote.sha256].read_bytes() for remote in remotes]


def test_many_files_at_once(served: Served, store: Store) -> None:
    served.manner = "slow"
    remotes = [served.remote(f"f{n}", os.urandom(1000 + n)) for n in range(20)]
    assert get(*remotes, *remotes, store=store) == [served.files[r.name] for r in (*remotes, *remotes)]
    assert len(served.asked) == 20, "every file once"
    assert 2 <= served.most_together <= 8
    assert list((store.root / "tmp").iterdir()) == []
    served.asked.clear()
    get(*remotes, store=store)
    assert served.asked == [], "what is present needs no network"


def test_progress(served: Served, store: Store) -> None:
    class Listening(Quiet):
        def __init__(self) -> None:
            self.heard: list[tuple[str, int, int]] = []

        def advance(self, label: str, done: int, total: int) -> None:
            self.heard.append((label, done, total))

    report = Listening()
    get(served.remote("f", bytes(1 << 20)), store=store, report=report)
    done = [d for _, d, _ in report.heard]
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert report.heard[-1] == ("f", 1 << 20, 1 << 20)


@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_truncated_body_is_resumed(served: Served, store: Store, size: int) -> None:
    served.manner = "cut"
    data = os.urandom(size)
    assert get(served.remote("f", data), store=store) == [data]
    if size > 3:
        third = size // 3 + 1
        assert served.asked == [("f", ""), ("f", f"bytes={third}-{size - 1}"), ("f", f"bytes={2 * third}-{size - 1}")]


def test_server_without_ranges(served: Served, store: Store) -> None:
    served.manner = "cut, no ranges"
    data = os.urandom(50_000)
    assert get(served.remote("f", data), store=store) == [data]
    assert len(served.asked) == 3


def test_endless_truncation_keeps_what_came(served: Served, store: Store) -> None:
    served.manner = "cut, no ranges"
    data = os.urandom(90_000)
    remote = served.remote("f", data)
    with pytest.raises(FetchError, match="could not download `f`") as caught:
        ensure([remote], store=store, report=Quiet(), pauses=(0.0,))
    assert "the connection broke" in str(caught.value) or "ended after" in str(caught.value)
    served.manner = ""
    served.asked.clear()
    assert get(remote, store=store) == [data]
    assert served.asked == [("f", f"bytes=30001-{len(data) - 1}")]


@pytest.mark.parametrize("manner", ["416", "other range", ""])
@pytest.mark.parametrize("kept", [1, 5_000, 10_000, 20_000])
def test_partial_file_of_an_earlier_run(served: Served, store: Store, manner: str, kept: int) -> None:
    """Right, complete or too long: whatever lies there, the file comes out right."""
    served.manner = manner
    data = os.urandom(10_000)
    remote = served.remote("f", data)
    (store.root / "tmp" / f"{remote.sha256}.part").write_bytes((data + data)[:kept])
    assert get(remote, store=store) == [data]
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("kept", [1, 5_000, 10_000])
def test_wrong_partial_file_is_replaced(served: Served, store: Store, kept: int) -> None:
    data = os.urandom(10_000)
    remote = served.remote("f", data)
    (store.root / "tmp" / f"{remote.sha256}.part").write_bytes(b"?" * kept)
    assert get(remote, store=store) == [data]


def test_wrong_content(served: Served, store: Store) -> None:
    remote = served.remote("f.whl", b"what was asked for")
    served.files["f.whl"] = b"what came instead!"
    with pytest.raises(FetchError, match=r"could not download `f\.whl`") as caught:
        get(remote, store=store)
    text = str(caught.value)
    assert f"{served.url}/f.whl" in text
    assert remote.sha256 in text
    assert hashlib.sha256(b"what came instead!").hexdigest() in text
    assert caught.value.hint
    assert not store.has_file(remote.sha256)
    assert len(served.asked) == 1, "the same wrong file is not asked for again"


@pytest.mark.parametrize("content", [b"short", b"much longer than what was asked for" * 1000])
def test_wrong_size(served: Served, store: Store, content: bytes) -> None:
    remote = served.remote("f", b"what was asked for")
    served.files["f"] = content
    with pytest.raises(FetchError, match="could not download `f`") as caught:
        get(remote, store=store)
    assert f"{len(content)} bytes instead of the 18" in str(caught.value)


def test_encoded_body_is_not_decoded(served: Served, store: Store) -> None:
    import gzip

    served.manner = "encoded"
    data = gzip.compress(b"an sdist, for example")
    assert get(served.remote("f.tar.gz", data), store=store) == [data]


def test_passing_trouble_is_retried(served: Served, store: Store) -> None:
    served.manner = "busy twice"
    assert get(served.remote("f", b"data"), store=store) == [b"data"]
    assert len(served.asked) == 3


def test_redirect(served: Served, store: Store) -> None:
    served.manner = "redirect"
    remote = served.remote("f", b"data")
    served.files["moved-f"] = b"data"
    assert get(remote, store=store) == [b"data"]


def test_mirrors_in_turn(served: Served, store: Store, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(b"wrong")
    urls = (f"{served.url}/absent", str(tmp_path / "wrong"), "http://127.0.0.1:1/down", f"{served.url}/wrong")
    served.files["wrong"] = b"wrng"
    served.files["f"] = b"data"
    remote = served.remote("f", b"data", urls=(*urls, f"{served.url}/f"))
    assert get(remote, store=store) == [b"data"]
    other = served.remote("g", b"more", urls=urls)
    with pytest.raises(FetchError) as caught:
        get(other, store=store)
    text = str(caught.value)
    assert "/absent: HTTP status 404" in text
    assert "127.0.0.1:1/down: connection refused" in text
    assert "/wrong: " in text


@pytest.mark.parametrize(("name", "manner", "told"), [
    ("a_1.0_amd64.deb", "", True), ("a-1.0-py3-none-any.whl", "", False), ("a_1.0_amd64.deb", "drop", False),
])  # fmt: skip
def test_a_package_that_every_mirror_has_lost(served: Served, store: Store, name: str, manner: str, told: bool) -> None:
    served.manner = manner
    if manner:
        served.files[f"absent/{name}"] = b"data"
    remote = Remote(sha256="0" * 64, size=4, name=name, urls=("http://127.0.0.1:1/x", f"{served.url}/absent/{name}"))
    with pytest.raises(FetchError) as caught:
        get(remote, store=store)
    hint = caught.value.hint or ""
    assert ("`cogsmith lock` again" in hint and "COGSMITH_DEBIAN_MIRROR" in hint) is told


@pytest.mark.parametrize("content", [b"other", None])
def test_a_package_that_a_local_mirror_has_lost(store: Store, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a_1.0_amd64.deb"
    if content:
        path.write_bytes(content)
    with pytest.raises(FetchError) as caught:
        get(Remote(sha256="0" * 64, size=4, name=path.name, urls=(path.as_uri(),)), store=store)
    assert ("superseded" in (caught.value.hint or "")) is (content is None)


def test_one_failure_ends_the_rest(served: Served, store: Store) -> None:
    good = [served.remote(f"f{n}", b"%d" % n * 100) for n in range(5)]
    bad = Remote(sha256="0" * 64, size=10**9, name="bad", urls=(f"{served.url}/absent",))
    with pytest.raises(FetchError, match="could not download `bad`"):
        get(*good, bad, store=store)
    assert get(*good, store=store) == [served.files[remote.name] for remote in good]


def test_credentials_are_used_but_not_shown(served: Served, store: Store) -> None:
    host = served.url.removeprefix("http://")
    url = f"http://smith:tell-nobody@{host}/f?signature=tell-nobody-either"
    assert get(served.remote("f", b"data", urls=(url,)), store=store) == [b"data"]
    assert served.authorization == ["Basic c21pdGg6dGVsbC1ub2JvZHk="]
    down = "http://smith:tell-nobody@127.0.0.1:1/f?signature=tell-nobody-either"
    for bad in (url.replace("/f?", "/g?"), down, url.replace("http:", "ftp:")):
        with pytest.raises(FetchError) as caught:
            get(Remote(sha256="0" * 64, size=4, name="g", urls=(bad,)), store=store)
        seen: BaseException | None = caught.value
        assert "tell-nobody" not in str(seen)
        assert "smith" not in str(seen)


def test_netrc(served: Served, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login smith password tell-nobody\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    get(served.remote("f", b"data"), store=store)
    assert served.authorization == ["Basic c21pdGg6dGVsbC1ub2JvZHk="]


def test_proxy(served: Served, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    remote = served.remote("f", b"data")
    with pytest.raises(FetchError, match="could not download `f`") as caught:
        get(remote, store=store)
    assert "the proxy cannot be used" in str(caught.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert get(remote, store=store) == [b"data"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/f", "http://no-such-host.invalid/f"])
def test_no_network(store: Store, url: str) -> None:
    with pytest.raises(FetchError) as caught:
        get(Remote(sha256="0" * 64, size=4, name="f", urls=(url,)), store=store)
    assert caught.value.hint is not None
    assert "no network" in caught.value.hint
    assert "Traceback" not in str(caught.value)


def test_server_that_hangs_up(served: Served, store: Store) -> None:
    served.manner = "drop"
    with pytest.raises(FetchError) as caught:
        get(served.remote("f", b"data"), store=store)
    assert "the connection broke" in str(caught.value)
    assert caught.value.hint is None
    assert len(served.asked) == len(NO_PAUSE) + 1


def test_untrusted_certificate(store: Store, tmp_path: Path, tool: object) -> None:
    if not callable(tool):
        raise TypeError(tool)
    openssl = tool("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    argv = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    state = Served()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"served": state}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    state.url = f"https://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    remote = state.remote("f", b"data")
    with pytest.raises(FetchError) as caught:
        get(remote, store=store)
    assert "certificate is not trusted" in str(caught.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert get(remote, store=store) == [b"data"]
    server.shutdown()
    server.server_close()


def test_local_files_are_verified_where_they_lie(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a wheel.whl"
    path.write_bytes(b"local")
    sha256 = hashlib.sha256(b"local").hexdigest()
    for url in (str(path), path.as_uri(), f"file://localhost{path.as_uri().removeprefix('file://')}"):
        remote = Remote(sha256=sha256, size=5, name="w", urls=(url,))
        assert ensure([remote], store=store, report=Quiet()) == {sha256: path}
    path.write_bytes(b"other")
    with pytest.raises(FetchError, match="could not get `w`") as caught:
        ensure([remote], store=store, report=Quiet())
    assert sha256 in str(caught.value)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    path.unlink()
    with pytest.raises(FetchError, match="could not get `w`"):
        ensure([remote], store=store, report=Quiet())
    with pytest.raises(FetchError, match="could not get `w`"):
        ensure([dataclasses.replace(remote, urls=())], store=store, report=Quiet())


FETCHER = """
import sys
from pathlib import Path
from builder.fetch import ensure
from builder.plan import Remote
from builder.report import Quiet
from builder.store import Store
url, sha256, size, root = sys.argv[1:]
with Store.open(Path(root)) as store:
    paths = ensure([Remote(sha256=sha256, size=int(size), name="f", urls=(url,))], store=store, report=Quiet())
    print(len(paths[sha256].read_bytes()))
"""


def fetcher(remote: Remote, root: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", FETCHER, remote.urls[0], remote.sha256, str(remote.size), str(root)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)


def test_killed_download_is_resumed(served: Served, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    remote = served.remote("f", data)
    go_on = threading.Event()
    halfway = threading.Event()

    class Slow(Handler):
        def answer(self, name: str, *, asked: str, attempt: int) -> None:
            if asked:
                return super().answer(name, asked=asked, attempt=attempt)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            halfway.set()
            go_on.wait(20)
            return None

    Slow.served = served
    server = Server(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    remote = dataclasses.replace(remote, urls=(f"http://127.0.0.1:{server.server_port}/f",))
    child = fetcher(remote, tmp_path / "c")
    halfway.wait(20)
    part = tmp_path / "c" / "tmp" / f"{remote.sha256}.part"
    while not part.exists() or part.stat().st_size < len(data) // 4:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    go_on.set()
    with Store.open(tmp_path / "c") as store:
        assert part.stat().st_size >= len(data) // 4, "opening the store keeps what can be resumed"
        assert get(remote, store=store) == [data]
    ranges = [asked for _, asked in served.asked]
    assert ranges[0] == ""
    assert re.fullmatch(rf"bytes=\d{{6}}-{len(data) - 1}", ranges[1])
    server.shutdown()
    server.server_close()


def test_two_processes_download_once(served: Served, tmp_path: Path) -> None:
    served.manner = "slow"
    remote = served.remote("f", os.urandom(300_000))
    children = [fetcher(remote, tmp_path / "c") for _ in range(3)]
    assert [child.communicate(timeout=60)[0] for child in children] == ["300000\n"] * 3
    assert served.asked == [("f", "")]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h.example:8443/a/b?t=1#f", "https://h.example:8443/a/b?..."),
        ("http://h/a%20b", "http://h/a%20b"),
        ("http://u%40x:p@h/", "http://h/"),
    ],
)
def test_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_nothing_to_do_imports_no_client(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom builder.fetch import ensure\nfrom builder.report import Quiet\n"
        "from builder.store import Store\nprint(ensure([], store=Store.open(Path(sys.argv[1])), report=Quiet()))\n"
        "assert 'requests' not in sys.modules and 'urllib3' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "c"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "{}\n"), done.stderr
