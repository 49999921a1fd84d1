"""Files of an output that are uploaded, to a real server; and the open files that models return."""

from __future__ import annotations

import base64
import http.server
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cog.worker.upload
import pytest
from cog.worker.outputs import Outputs, file_clock
from cog.worker.plain import OutputError
from cog.worker.protocol import Done
from runtime_image import PATIENCE
from worker_life import living


class Store:
    """A place for uploads: what came, in the order of arrival, and how it answers."""

    def __init__(self) -> None:
        self.taken: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.users: list[str | None] = []
        self.answer: Callable[[str], tuple[int, dict[str, str]]] = lambda path: (200, {})
        self.delay: Callable[[str], float] = lambda path: 0.0
        self.most_at_a_time = 0
        self._now = 0
        self._lock = threading.Lock()
        store = self

        class Taker(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                with store._lock:
                    store._now += 1
                    store.most_at_a_time = max(store.most_at_a_time, store._now)
                data = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(store.delay(self.path))
                with store._lock:
                    store._now -= 1
                    store.taken[self.path] = data
                    store.types[self.path] = self.headers["Content-Type"]
                    store.users.append(self.headers["Authorization"])
                status, headers = store.answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    thread = threading.Thread(target=store.server.serve_forever)
    thread.start()
    yield store
    store.server.shutdown()
    thread.join()
    store.server.server_close()


def upload(folder: Path, value: Any, to: str) -> Any:
    run = Outputs(str(folder / "exchange"), since=file_clock(), upload_url=to)
    plain, files = run.take(run.prepare(value, last=True))
    assert files == []
    return plain


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


@pytest.mark.parametrize("base", ["", "/", "/a/b", "/a/b/", "/a/b?key=1", "/a/b/?key=1"])
def test_one_file(tmp_path: Path, store: Store, base: str) -> None:
    (path,) = make(tmp_path, "an image.png")
    at = base.partition("?")[0].rstrip("/") + "/an%20image.png"
    assert upload(tmp_path, path, store.url + base) == store.url + at
    (taken,) = store.taken
    assert taken.partition("?")[0] == at
    assert taken.partition("?")[2] == base.partition("?")[2], "a signature travels with the request"
    assert (store.taken[taken], store.types[taken]) == (b"an image.png", "image/png")


@pytest.mark.parametrize(
    ("location", "expected"),
    [("https://cdn/x.png?sig=1#f", "https://cdn/x.png"), ("/elsewhere/x?y=1", "{url}/elsewhere/x"), ("x", "{url}/u/x")],
)
def test_where_the_answer_says_that_it_is(tmp_path: Path, store: Store, location: str, expected: str) -> None:
    store.answer = lambda path: (201, {"Location": location})
    assert upload(tmp_path, make(tmp_path, "a.png")[0], store.url + "/u") == expected.format(url=store.url)


def test_many_keep_their_order_and_go_together(tmp_path: Path, store: Store) -> None:
    paths = make(tmp_path, *(f"{index}.txt" for index in range(20)))

    def delay(path: str) -> float:
        """The first one is under way until another is."""
        end = time.monotonic() + PATIENCE
        while path == "/0.txt" and store.most_at_a_time < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return 0.02

    store.delay = delay
    assert upload(tmp_path, paths, store.url) == [f"{store.url}/{index}.txt" for index in range(20)]
    assert 1 < store.most_at_a_time <= 8
    assert store.taken["/7.txt"] == b"7.txt"


def test_nested_files_and_equal_names(tmp_path: Path, store: Store) -> None:
    one, other = make(tmp_path, "x/out.png", "y/out.png")
    assert upload(tmp_path, {"a": [one, {"b": other}], "c": 5}, store.url) == {
        "a": [f"{store.url}/out.png", {"b": f"{store.url}/out-1.png"}],
        "c": 5,
    }
    assert store.taken == {"/out.png": b"x/out.png", "/out-1.png": b"y/out.png"}


@pytest.mark.parametrize(("status", "error"), [(500, "status 500"), (403, "status 403"), (303, "status 303")])
def test_a_refused_upload(tmp_path: Path, store: Store, status: int, error: str) -> None:
    store.answer = lambda path: (status, {"Location": "/elsewhere"} if status == 303 else {})
    with pytest.raises(OutputError, match=f"Failed to upload output: upload returned {error}"):
        upload(tmp_path, make(tmp_path, "a", "b"), store.url)


@pytest.mark.parametrize("status", [307, 308])
def test_a_store_that_sends_the_file_elsewhere(tmp_path: Path, store: Store, status: int) -> None:
    """As with a bucket behind a broker; whoever it names does not get the broker's password."""
    (path,) = make(tmp_path, "a.bin")
    path.write_bytes(data := bytes(range(256)) * 4096)
    other = Store()
    thread = threading.Thread(target=other.server.serve_forever)
    thread.start()
    try:
        store.answer = lambda at: (status, {"Location": "/b/a.bin?sig=1"}) if at == "/a.bin" else (201, {})
        with_user = store.url.replace("//", "//me:p%40ss@")
        assert upload(tmp_path, path, with_user) == f"{store.url}/b/a.bin"
        assert store.taken["/b/a.bin?sig=1"] == data
        assert set(store.users) == {"Basic " + base64.b64encode(b"me:p@ss").decode()}
        store.answer = lambda at: (status, {"Location": f"{other.url}/c?sig=2"})
        assert upload(tmp_path, path, with_user) == f"{other.url}/c"
        assert (other.taken["/c?sig=2"], other.types["/c?sig=2"], other.users) == (data, store.types["/a.bin"], [None])
        other.answer = lambda at: (status, {"Location": at})
        with pytest.raises(OutputError, match=f"upload returned status {status}"):
            upload(tmp_path, path, other.url)
    finally:
        other.server.shutdown()
        thread.join()
        other.server.server_close()


def test_nobody_there(tmp_path: Path, store: Store) -> None:
    with pytest.raises(OutputError, match=r"Failed to upload output: .*refused"):
        upload(tmp_path, make(tmp_path, "a"), "http://127.0.0.1:1/")


def test_a_store_that_does_not_answer(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cog.worker.upload.UPLOAD_TIMEOUT == 25
    monkeypatch.setattr("cog.worker.upload.UPLOAD_TIMEOUT", 0.2)
    store.delay = lambda path: 2.0
    with pytest.raises(OutputError, match=r"Failed to upload output: .*timed out"):
        upload(tmp_path, make(tmp_path, "a"), store.url)


MODEL = """
    import io, os, pathlib, tempfile
    from cog import Path
    def make(name, size=10):
        path = Path(tempfile.mkdtemp()) / name
        path.write_bytes(os.urandom(size))
        return path
    def Runner(form: str):
        if form == "list": return [make(f"{i}.bin") for i in range(9)]
        if form == "stream": return [io.BytesIO(b"bytes"), io.StringIO("text"), tempfile.TemporaryFile()]
        if form == "large": return make("large.bin", 50_000_000)
        if form == "kept": return Path(os.path.abspath("run.py"))
        return many(form)
    def many(form):
        path = make("frame.png")
        for i in range(3):
            path.write_bytes(str(i).encode())
            yield path
    async def Async(form: str): return Runner(form)
"""


@pytest.mark.parametrize("name", ["Runner", "Async"])
def test_in_a_worker(tmp_path: Path, store: Store, name: str) -> None:
    with living(tmp_path, MODEL) as life:
        life.setup(f"run.py:{name}", upload_url=store.url)
        assert life.predict("1", form="list").value == [f"{store.url}/{i}.bin" for i in range(9)]
        assert life.predict("2", form="stream").value == [
            f"{store.url}/0.bin",
            f"{store.url}/0.txt",
            f"{store.url}/0-1.bin",
        ]
        assert (store.taken["/0.bin"], store.taken["/0.txt"], store.taken["/0-1.bin"]) == (b"bytes", b"text", b"")
        assert life.predict("3", form="kept").value == f"{store.url}/run.py"
        assert life.predict("4", form="items").status == "succeeded"
        assert life.items("4") == [f"{store.url}/frame.png", f"{store.url}/frame-1.png", f"{store.url}/frame-2.png"]
        assert [store.taken[f"/frame{it}.png"] for it in ("", "-1", "-2")] == [b"0", b"1", b"2"]
        assert life.predict("5", form="large").value == f"{store.url}/large.bin"
        assert len(store.taken["/large.bin"]) == 50_000_000
        peak = int(Path(f"/proc/{life.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
        assert peak < 140, f"{peak} MiB: os.urandom's 48, not the upload"
        store.answer = lambda path: (500, {})
        done: Done = life.predict("6", form="list")
        assert (done.status, done.error) == (
            "failed",
            "Failed to upload output: upload returned status 500 Internal Server Error",
        )
        left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
        assert left == [], "what was uploaded, or could not be, is not kept"


def test_files_that_models_hold_open(tmp_path: Path) -> None:
    run = Outputs(str(tmp_path), since=file_clock())
    spooled = tempfile.SpooledTemporaryFile(mode="w+")  # noqa: SIM115
    spooled.write("spooled")
    with tempfile.NamedTemporaryFile(suffix=".json") as named, open(tmp_path / "w.txt", "w") as closed:
        named.write(b"{}")
        plain, files = run.take(run.prepare({"a": spooled, "b": named}, last=True))
        assert plain == {"a": None, "b": None}
        assert [Path(file["path"]).read_bytes() for file in files] == [b"spooled", b"{}"]
        assert files[1]["type"] == "application/json"
        with pytest.raises(OutputError, match="output file cannot be read"):
            run.take(run.prepare(closed, last=True))
    with pytest.raises(OutputError, match="a is a folder, not a file"):
        run.prepare({"a": tmp_path}, last=True)
