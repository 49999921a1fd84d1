"""The podman engine with the real podman, in a containers-storage of the tests' own."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.engine import cdi, client, containers_storage, podman, server
from builder.engine.container import Options
from builder.errors import SandboxError
from builder.plan import canonical_json
from builder.sandbox import Mount
from builder.store import Store, StoredImage

from .images import HOST
from .podman_images import stored

NULL = subprocess.DEVNULL


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where podman keeps its things meanwhile; skips, aloud, without podman."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("podman")
    conf = folder / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    state = folder / "containers.conf"  # root has one folder of states, which a `reset` by another test empties
    state.write_text(f'[engine]\ntmp_dir = "{folder}/state"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
        patch.setenv("CONTAINERS_CONF", str(state))
        yield folder
        left = asked("ps", "--all", "--quiet")
        asked("system", "reset", "--force")
    assert left == ""


@pytest.fixture(scope="module")
def store(place: Path) -> Iterator[Store]:
    with Store.open(place / "store") as opened:
        yield opened


@pytest.fixture(scope="module")
def image(store: Store) -> StoredImage:
    """An image whose command is a stand-in for the prediction server, or whatever the test says."""
    made = stored(store)
    try:
        podman.run(made, store=store, options=Options(command=("true",), mounts=HOST, stdin=NULL))
    except SandboxError as problem:
        pytest.skip(f"podman runs nothing on this machine: {problem}")
    return made


def asked(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run(image: StoredImage, store: Store, script: str, folder: Path, **options: object) -> tuple[int, str]:
    with (folder / "out").open("wb") as out:
        given = Options(command=("sh", "-c", script), mounts=HOST, stdin=NULL, stdout=out, stderr=out)
        code = podman.run(image, store=store, options=dataclasses.replace(given, **options))  # type: ignore[arg-type]
    return code, (folder / "out").read_text()


def test_the_image_is_there_once_with_its_digest(image: StoredImage, store: Store) -> None:
    name = containers_storage.deliver(image, store=store, program="podman", report=NoCopy())
    assert name == "localhost/cog-podman-test:latest"
    assert asked("image", "inspect", "--format", "{{.Digest}}", name) == image.digest
    assert asked("images", "--quiet").count("\n") == 0


class NoCopy:
    """A report that hears of no work."""

    def note(self, text: str) -> None:
        raise AssertionError(text)

    warn = note

    def advance(self, label: str, done: int, total: int) -> None:
        raise AssertionError(label)


def test_exit_code_environment_folder_and_mounts(image: StoredImage, store: Store, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a").write_text("read\n")
    odd = tmp_path / 'of: a, "b"'
    odd.mkdir()
    (odd / "a").write_text("odd\n")
    mounts = (
        *HOST,
        Mount(target="/given", source=tmp_path / "given"),
        Mount(target="/odd", source=odd, readonly=True),
    )
    script = (
        'echo "$A|$B|$C|$HOME|$HOSTNAME|$PWD"; cat /given/a /odd/a; echo written > /given/b'
        "; echo x 2>/dev/null > /odd/b || id -u; exit 7"
    )
    env = {"B": "x=y # z", "C": "two\nlines"}
    code, told = run(image, store, script, tmp_path, env=env, mounts=mounts, workdir="/given")
    assert code == 7
    assert told == "1|x=y # z|two\nlines|/root|cogsmith|/given\nread\nodd\n0\n"
    assert (tmp_path / "given" / "b").read_text() == "written\n"
    assert (tmp_path / "given" / "b").stat().st_uid == os.getuid()


def test_a_value_is_in_no_command_line(image: StoredImage, tmp_path: Path) -> None:
    variables = tmp_path / "env"
    words = podman.arguments(image, options=Options(env={"T": "s3cr3t"}), variables=variables, interactive=False)
    assert "s3cr3t" not in " ".join(words)


def test_signals_and_removal(image: StoredImage, store: Store, tmp_path: Path) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    with (tmp_path / "out").open("wb") as out:
        options = Options(command=("bash", "-c", script), mounts=HOST, stdin=NULL, stdout=out, stderr=out)
        with podman.start(image, store=store, options=options) as running:
            wait_for(tmp_path / "out", "ready")
            assert running.poll() is None
            running.signal(signal.SIGTERM)
            assert running.wait() == 3
        with podman.start(image, store=store, options=options) as running:
            wait_for(tmp_path / "out", "ready\ngot it\nready")
            name = running.name
            assert name in asked("ps", "--format", "{{.Names}}")
    assert name not in asked("ps", "--all", "--format", "{{.Names}}")  # closed while it ran: killed and removed
    assert not list((store.root / "tmp").iterdir())


KILLED = """
import os, pickle, signal, subprocess, sys
from pathlib import Path
from builder.engine import podman
from builder.engine.container import Options
from builder.store import Store
image, mounts = pickle.loads(Path(sys.argv[2]).read_bytes())
with Store.open(Path(sys.argv[1])) as store, open(sys.argv[3], "wb") as out:
    command = ("bash", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    running = podman.start(
        image, store=store, options=Options(command=command, mounts=mounts, stdin=subprocess.DEVNULL, stdout=out)
    )
    while b"ready" not in Path(sys.argv[3]).read_bytes():
        assert running.poll() is None
    print(running.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_started_it_is_killed(image: StoredImage, store: Store, tmp_path: Path) -> None:
    """Nothing stays, not even of a command that ignores SIGTERM."""
    (tmp_path / "image").write_bytes(pickle.dumps((image, HOST)))
    words = [sys.executable, "-c", KILLED, store.root, tmp_path / "image", tmp_path / "out"]
    done = subprocess.run(
        words, cwd=Path(podman.__file__).parents[2], stdout=subprocess.PIPE, stderr=NULL, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    name = done.stdout.strip()
    assert name
    deadline = time.monotonic() + 120
    while name in asked("ps", "--all", "--format", "{{.Names}}"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.05)


def test_the_server_answers(image: StoredImage, store: Store) -> None:
    options = Options(mounts=HOST, stdout=NULL, stderr=NULL)
    with server.start(image, store=store, options=options, engine=podman) as running:
        answer = client.predict(running.port, inputs={"x": 5})
        assert answer.output == [5, "/src", "127.0.0.1"]


def test_gpus_by_cdi_where_the_host_describes_them(tmp_path: Path) -> None:
    gpu = [
        Mount(target=f"/dev/{name}", source=Path("/dev/null"), device=True)
        for name in ("nvidiactl", "nvidia0", "nvidia1")
    ]
    library = Mount(target="/usr/local/nvidia/lib64/libcuda.so.1", source=Path("/dev/null"))
    other = Mount(target="/src", source=tmp_path)
    assert cdi.replaced([*gpu, library, other], root=tmp_path) == ([], [*gpu, library, other])
    (tmp_path / "etc" / "cdi").mkdir(parents=True)
    document = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": n} for n in ("0", "1", "all")]}
    (tmp_path / "etc" / "cdi" / "nvidia.json").write_bytes(canonical_json(document))
    (tmp_path / "etc" / "cdi" / "odd.yaml").write_text("- [")
    assert cdi.replaced([*gpu, library, other], root=tmp_path) == (["nvidia.com/gpu=0", "nvidia.com/gpu=1"], [other])
    assert cdi.replaced([other], root=tmp_path) == ([], [other])
    document["devices"] = [{"name": "0"}]
    (tmp_path / "etc" / "cdi" / "nvidia.json").write_text(json.dumps(document))
    assert cdi.replaced([*gpu, other], root=tmp_path) == ([], [*gpu, other])


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("cog-x:latest", "localhost/cog-x:latest"),
        ("me/model", "localhost/me/model:latest"),
        ("r8.im/me/model:v1", "r8.im/me/model:v1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_names(name: str, there: str) -> None:
    assert containers_storage.local_name(name) == there


ROOTLESS = """
import subprocess, sys
from pathlib import Path
from builder.engine import podman
from builder.engine.container import Options
from builder.errors import SandboxError
from builder.sandbox import Mount
from builder.store import Store
from engine.images import HOST
from engine.podman_images import stored
home = Path(sys.argv[1])
(home / "here").mkdir()
with Store.open(home / "podman-store") as store:
    image = stored(store)
    options = Options(
        command=("sh", "-c", "id -u; echo $B > /here/made; exit 9"), env={"B": "x"},
        mounts=(*HOST, Mount(target="/here", source=home / "here")),
    )
    try:
        code = podman.run(image, store=store, options=options)
    except SandboxError as problem:
        print("absent", problem.details)
    else:
        left = subprocess.run(["podman", "ps", "-aq"], capture_output=True, text=True).stdout.strip()
        print("code", code, (home / "here" / "made").stat().st_uid, left)
subprocess.run(["podman", "system", "reset", "--force"], capture_output=True)
"""


def test_by_an_ordinary_user(ordinary: Any) -> None:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    given = ordinary.give(Path(__file__).parent, "engine-tests/engine")
    done = ordinary.run("-c", ROOTLESS, str(ordinary.home), cwd=given.parent)
    if "subuid" in done.stderr or "uidmap" in done.stderr or "absent" in done.stdout:
        pytest.skip(f"podman runs nothing for an ordinary user here: {done.stdout} {done.stderr}"[-500:])
    assert done.stdout == f"0\ncode 9 {ordinary.uid} \n", done.stderr
