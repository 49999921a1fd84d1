"""Images as containers: configuration, whiteouts, and a server on a free port."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder import sandbox
from builder.engine import client, container, server
from builder.engine.container import Options, specify
from builder.errors import InputError, PredictionError, SandboxError
from builder.sandbox import Mount
from builder.store import Store, StoredImage

from .images import HOST, Recipe, member, symlink, tar
from .servers import SERVER

pytestmark = pytest.mark.usefixtures("containers")

QUIET = Options(mounts=HOST, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
MODEL = Recipe(
    layers=(tar([member("server.py", SERVER.encode()), member("src")]),),
    config={"Cmd": ["python3", "/server.py"], "WorkingDir": "/src", "Env": ["PATH=/usr/bin"]},
)


def run_and_read(image: StoredImage, store: Store, options: Options) -> str:
    """What a container prints; it must succeed."""
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as pool, open(read, "rb") as stream:
        text = pool.submit(stream.read)
        try:
            code = container.run(image, store=store, options=dataclasses.replace(options, stdout=write))
        finally:
            os.close(write)
        assert code == 0, text.result()
        return text.result().decode()


def said(recipe: Recipe, store: Store, **options: object) -> str:
    return run_and_read(recipe.image(store), store, Options(mounts=HOST, **options))  # type: ignore[arg-type]


def test_the_configuration_is_obeyed(store: Store) -> None:
    config = {
        "Entrypoint": ["sh", "-c", 'echo "$A|$B|$HOME|$PWD|$*"', "name"],
        "Cmd": ["one", "two"],
        "Env": ["A=x=y", "B=image"],
        "WorkingDir": "/work",
    }
    recipe = Recipe(config=config)
    assert said(recipe, store) == "x=y|image|/root|/work|one two\n"
    assert said(recipe, store, command=("three",), env={"B": "ours"}, workdir="/") == "x=y|ours|/root|/|three\n"
    assert said(recipe, store, command=()) == "x=y|image|/root|/work|\n"


def test_an_image_without_a_command(store: Store) -> None:
    with pytest.raises(SandboxError, match="the image has no command to run"):
        container.run(Recipe().image(store), store=store)


def test_inits_are_first_themselves() -> None:
    def first(*words: str) -> bool:
        config = {"config": {"Entrypoint": list(words)}}
        return specify(config, layers=[], scratch=Path("/x"), options=Options(command=("y",))).init

    assert first("python")
    assert not first("/sbin/tini", "--")
    assert not first("/usr/bin/tini")


def test_whiteouts_hide_what_is_below(store: Store) -> None:
    below = [member(f"d/{n}", b"") for n in "abc"] + [member(f"{n}/old", b"") for n in ("opaque", "anew", "later")]
    below += [member("file", b"old"), member("swap/dir/deep", b""), symlink("link", "file")]
    above = [
        member("d/.wh.a", b""),
        member("d/.wh.never", b""),
        member("opaque"),
        member("opaque/.wh..wh..opq", b""),
        member("opaque/new", b""),
        member(".wh.anew", b""),
        member("anew/new", b""),
        member("later/new", b""),
        member(".wh.later", b""),
        member(".wh.link", b""),
        member(".wh..wh.plnk", b""),
        member("swap/dir", b"now a file"),
    ]
    recipe = Recipe(layers=(tar(below), tar(above)))
    script = "cd /; ls d opaque anew later; ls -a | grep -e wh -e link; cat file swap/dir"
    text = said(recipe, store, command=("sh", "-c", script))
    lists = dict(part.split(":\n") for part in text.split("oldnow")[0].strip().split("\n\n"))
    assert {name: value.split() for name, value in lists.items()} == {
        "d": ["b", "c"],
        "opaque": ["new"],
        "anew": ["new"],
        "later": ["new"],
    }
    assert text.endswith("oldnow a file")


def test_what_was_hidden_can_be_made_again(store: Store) -> None:
    recipe = Recipe(layers=(tar([member("d/old", b"")]), tar([member(".wh.d", b"")])))
    script = "ls -d /d 2>/dev/null; mkdir /d; touch /d/x; ls /d; rm -r /d; mkdir /d; ls /d"
    assert said(recipe, store, command=("sh", "-c", script)) == "x\n"


NESTED = """
import sys
sys.path[:0] = ["/code", "/tests"]
from pathlib import Path
from builder.engine import container
from builder.engine.container import Options
from builder.store import Store
from engine.images import HOST, Recipe, member, tar
below = tar([member(f"d/{n}", b"") for n in "abc"] + [member(f"o/{n}", b"") for n in "ab"])
above = tar([member("d/.wh.a", b""), member("o/.wh.a", b""), member("o/.wh..wh..opq", b""), member("o/new", b"")])
with Store.open(Path("/store")) as store:
    options = Options(mounts=HOST, command=("sh", "-c", "ls /d /o; touch /d/a; rm /d/b; ls /d"))
    sys.exit(container.run(Recipe(layers=(below, above)).image(store), store=store, options=options))
"""


def test_a_container_in_a_container(store: Store) -> None:
    """Where the cache lies on an overlay, which takes neither classic whiteouts nor upper directories."""
    if sandbox.kernel_release() < (6, 8):
        pytest.skip("Linux before 6.8 has no whiteouts that an overlay can hold")
    if subprocess.run(["python3", "-c", "import sys; assert sys.version_info >= (3, 11)"], check=False).returncode:
        pytest.skip("the machine's own `python3` is older than 3.11")
    code, tests = Path(sandbox.__file__).parents[2], Path(__file__).parents[1]
    mounts = (Mount(target="/code", source=code, readonly=True), Mount(target="/tests", source=tests, readonly=True))
    image = Recipe(layers=(tar([member("try.py", NESTED.encode())]),), config={"Env": ["PATH=/usr/bin"]}).image(store)
    options = Options(mounts=(*HOST, *mounts), command=("python3", "-B", "/try.py"))
    assert run_and_read(image, store, options) == "/d:\nb\nc\n\n/o:\nnew\na\nc\n"


def test_mounts_over_the_image(store: Store, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "here").write_text("1")
    image = Recipe(layers=(tar([member("src/theirs", b"")]),), config={"WorkingDir": "/src"}).image(store)
    options = Options(
        mounts=(*HOST, Mount(target="/src", source=tmp_path / "project")),
        command=("sh", "-c", "ls > made; [ ! -e theirs ]"),
    )
    assert container.run(image, store=store, options=options) == 0
    assert (tmp_path / "project" / "made").read_text().split() == ["here", "made"]


def test_nothing_stays_but_the_unpacked_layers(store: Store) -> None:
    said(Recipe(), store, command=("sh", "-c", "head -c 1000000 /dev/zero > /big"))
    assert [path.name for path in (store.root / "run").iterdir()] == ["sandbox.lock"]
    assert len(list((store.root / "unpacked").iterdir())) == 1
    assert store.prune(everything=True)  # nobody holds the store any more


def test_a_served_model_answers(store: Store, tmp_path: Path) -> None:
    with (tmp_path / "logs").open("wb") as logs:
        running = server.start(MODEL.image(store), store=store, options=Options(mounts=HOST, stdout=logs, stderr=logs))
    with running:
        answer = client.predict(running.port, inputs={"x": "ü"}).require()
        assert answer.output == ["ü", "/src", "127.0.0.1"]
        assert client.openapi(running.port) == {"openapi": "3.0.2"}
        with pytest.raises(PredictionError, match='Prediction failed with status "failed": boom'):
            client.predict(running.port, inputs={"x": "fail"}).require()
        with pytest.raises(InputError) as refused:
            client.predict(running.port, inputs={"x": "bad"})
        assert refused.value.details == "- x: too bad"
        with pytest.raises(PredictionError, match="/predictions call returned status 500"):
            client.predict(running.port, inputs={"x": "500"})
        with pytest.raises(PredictionError, match="the server went away during the prediction"):
            client.predict(running.port, inputs={"x": "die"})
        assert running.container.wait() == 9
    assert (tmp_path / "logs").read_text() == "starting \n"
    assert client.health(running.port) is None


@pytest.mark.parametrize(
    ("mode", "match", "timeout"),
    [
        ("exits", "Container exited unexpectedly", 60),
        ("fails", "Model setup failed\nno gpu", 60),
        ("odd", "Container healthcheck returned unexpected status: DEFUNCT", 60),
        ("slow", "Timed out: the model was not ready after 0.5 seconds", 0.5),
    ],
)
def test_servers_that_do_not_come_up(store: Store, mode: str, match: str, timeout: float) -> None:
    options = dataclasses.replace(QUIET, env={"MODE": mode})
    with pytest.raises(PredictionError) as problem:
        server.start(MODEL.image(store), store=store, options=options, setup_timeout=timeout)
    assert match in str(problem.value)
    assert [path.name for path in (store.root / "run").iterdir()] == ["sandbox.lock"]
    assert not list((store.root / "locks").glob("port-*"))
    assert store.prune(everything=True)


def test_a_given_port_that_is_taken(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SandboxError, match="is taken"):
        server.start(MODEL.image(store), store=store, port=taken.getsockname()[1], options=Options(mounts=HOST))


def test_a_port_lost_to_another_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lost = taken.getsockname()[1]
        reserve = server._reserve
        ports = []

        def first_the_lost_one(locks: Path, **kw: object) -> int:
            ports.append(lost if not ports else reserve(locks, **kw))  # type: ignore[arg-type]
            return int(ports[-1])

        monkeypatch.setattr(server, "_reserve", first_the_lost_one)
        image = MODEL.image(store)
        with server.start(image, store=store, options=QUIET) as running:
            assert running.port == ports[1]
            assert client.predict(running.port, inputs={"x": 1}).output[0] == 1


def test_several_servers_at_once(store: Store) -> None:
    image = MODEL.image(store)
    barrier = threading.Barrier(3)

    def one(number: int) -> object:
        barrier.wait()
        with server.start(image, store=store, options=QUIET) as running:
            return client.predict(running.port, inputs={"x": number}).output[0]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, range(3))) == [0, 1, 2]


def test_somebody_elses_silence_is_not_health() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert client.health(port) is None  # accepts, never answers
    with pytest.raises(PredictionError, match="went away"):
        client.predict(port, inputs={})
