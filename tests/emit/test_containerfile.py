"""The Containerfile of `cogsmith debug`: its text for values of every kind, and the real thing with buildah."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.config import Command, Config, Mount
from builder.emit.containerfile import containerfile
from builder.errors import ConfigError
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import ImageConfig, Interpreter, Remote, Wheel
from emit.real import pip_settings, storage
from tests.conftest import Cogsmith

RUNTIME = {"cog/__init__.py": b"x = 'y'\n", "cog/server/http.py": os.urandom(200_000)}
SCHEMA = json.dumps({"openapi": "3.0.2", "info": {"description": "it's $HOME, \\ \" and # " * 2000}})


def wheel(name: str, sha256: str) -> Wheel:
    return Wheel(name=name, version="1.0", filename=f"{name}-1.0-py3-none-any.whl", size=1, sha256=sha256 * 64)


LOCK = Lock(
    config_hash="0" * 64,
    platform="linux/amd64",
    interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
    base=DebianBase(suite="bookworm", architecture="amd64", debs=()),
    wheels=(wheel("numpy", "a"), wheel("local", "b")),
    runtime_version="1.2.3",
    runtime_wheels=(wheel("fastapi", "c"),),
    remotes=(
        Remote(sha256="a" * 64, size=1, name="numpy", urls=("https://index.example/numpy-1.0.whl#sha256=aa",)),
        Remote(sha256="b" * 64, size=1, name="local", urls=("file:///somewhere/local.whl",)),
    ),
)
IMAGE = ImageConfig(
    env=(("PATH", "/opt/venv/bin:/usr/bin"), ("GREETING", 'say "hi" to $USER \\ now')),
    entrypoint=("/usr/bin/tini", "--"),
    cmd=("python", "-m", "cog.server.http"),
    working_dir="/src",
    exposed_ports=("5000/tcp",),
    labels=(("run.cog.openapi_schema", SCHEMA), ("run.cog.version", "1")),
)
CONFIG = Config(
    python_version="3.11",
    system_packages=("ffmpeg", "libgl1=1.6-1 git --no-install-recommends"),
    commands=(
        Command(command="echo one"),
        Command(command="cat > /tmp/x <<EOF\n# not a comment\nEOF\n"),
        Command(command="cat /t", mounts=(Mount(type="secret", id="t", target="/t"),)),
    ),
)


def made(config: Config = CONFIG, lock: Lock = LOCK, image: ImageConfig = IMAGE) -> str:
    return containerfile(config, lock, image=image, runtime=RUNTIME, schema=SCHEMA)


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and operand of each, continuation lines joined, as every builder reads them."""
    lines = [line for line in text.splitlines() if not line.startswith("#") and line.strip()]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def printed(words: str, folder: Path) -> bytes:
    """What a shell prints for `printf '%s' ... >> FILE`."""
    command = re.sub(r">> \S+$", "", words)
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=True).stdout


def test_what_is_embedded_comes_out_as_it_went_in(tmp_path: Path) -> None:
    runs = [rest for name, rest in instructions(made()) if name == "RUN"]
    runtime = b"".join(printed(rest, tmp_path) for rest in runs if rest.endswith(">> /tmp/runtime"))
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(runtime)), mode="r:xz") as archive:
        assert {m.name: archive.extractfile(m).read() for m in archive} == RUNTIME  # type: ignore[union-attr]
    schema = b"".join(
        printed(rest, tmp_path) for rest in runs if rest.endswith("openapi_schema.json") and "printf" in rest
    )
    assert schema.decode() == SCHEMA
    assert made() == made()


def test_a_value_that_no_containerfile_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="line end in the value of `POEM`") as caught:
        made(image=dataclasses.replace(IMAGE, env=(("POEM", "two\nlines"),)))
    assert "cogsmith build" in str(caught.value.hint)


def test_limits() -> None:
    """Parsers take lines of 64 KiB, Linux takes 128 KiB in one argument."""
    text = made()
    assert max(map(len, text.splitlines())) < 60_000
    assert max(len(rest) for name, rest in instructions(text) if name == "RUN") < 120_000


def test_values_are_quoted() -> None:
    values = {
        rest.partition("=")[0]: rest.partition("=")[2]
        for name, rest in instructions(made())
        if name in ("ENV", "LABEL")
    }
    for name, value in (*IMAGE.env, ('"run.cog.openapi_schema"', SCHEMA)):
        quoted = values[name]
        assert quoted.startswith('"')
        assert re.sub(r"\\(.)", r"\1", quoted[1:-1]) == value


def test_versions_are_locked_by_hash() -> None:
    runs = [rest for name, rest in instructions(made()) if name == "RUN" and "--require-hashes" in rest]
    model, server = (shlex.split(rest.partition(">")[0]) for rest in runs)
    assert model[2:] == [
        f"numpy @ https://index.example/numpy-1.0.whl --hash=sha256:{'a' * 64}",
        f"local==1.0 --hash=sha256:{'b' * 64}",
    ]
    assert server[2:] == [f"fastapi==1.0 --hash=sha256:{'c' * 64}"]
    assert all("--no-deps" in rest for rest in runs)


def test_each_word_of_system_packages_is_one() -> None:
    (install,) = [rest for name, rest in instructions(made()) if name == "RUN" and "ffmpeg" in rest]
    words = shlex.split(install)
    assert words[words.index("ffmpeg") :][:4] == ["ffmpeg", "libgl1=1.6-1", "git", "--no-install-recommends"]


def test_order_is_that_of_an_image() -> None:
    names = [rest for name, rest in instructions(made()) if name in ("RUN", "COPY", "FROM", "CMD")]

    def place(text: str) -> int:
        return next(number for number, rest in enumerate(names) if text in rest)

    assert place("ffmpeg") < place("/opt/venv") < place("--require-hashes") < place("echo one") < place(". /src")
    assert names[place("cat /t")] == "--mount=type=secret,id=t,target=/t,required=true cat /t"
    assert names[-1] == '["python", "-m", "cog.server.http"]'


def test_bases() -> None:
    base = ImageBase(
        reference="python:3.12-slim", digest="sha256:" + "d" * 64, media_type="m", size=1, layers=(), user="app"
    )
    import dataclasses

    text = made(lock=dataclasses.replace(LOCK, base=base), image=dataclasses.replace(IMAGE, user="app"))
    assert f"ARG BASE=python:3.12-slim@sha256:{'d' * 64}\n" in text
    assert "dpkg" not in text
    users = [rest for name, rest in instructions(text) if name == "USER"]
    assert users == ["root", "app"]
    assert "ARG BASE=docker.io/library/debian:bookworm-slim\n" in made()


def only_base(layout: Path) -> None:
    """Cut the image of an OCI layout down to its first layer: Debian alone."""
    import hashlib

    def put(document: object) -> dict[str, object]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (layout / "blobs" / "sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def get(descriptor: dict[str, str]) -> dict[str, object]:
        document: dict[str, object] = json.loads(
            (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_text()
        )
        return document

    index = json.loads((layout / "index.json").read_text())
    manifest: dict = get(index["manifests"][0])  # type: ignore[type-arg]
    config: dict = get(manifest["config"])  # type: ignore[type-arg]
    config["rootfs"]["diff_ids"] = config["rootfs"]["diff_ids"][:1]
    config.pop("history")
    config["config"] = {"Env": ["PATH=/usr/bin:/bin"]}
    manifest["layers"] = manifest["layers"][:1]
    manifest["config"] |= put(config)
    index["manifests"][0] |= put(manifest)
    index["manifests"][0].pop("annotations", None)
    (layout / "index.json").write_text(json.dumps(index))


@pytest.mark.network
@pytest.mark.tool
@pytest.mark.xdist_group("emit")
@pytest.mark.usefixtures("containers")
def test_buildah_builds_it_and_the_server_answers(
    cogsmith: Cogsmith, locked_hello: Path, tool: Callable[[str], str], tmp_path: Path
) -> None:
    """Debian as the base, no Cogsmith inside: the model answers as it does in an image of our own."""
    buildah = tool("buildah")
    if os.geteuid():
        pytest.skip("not root: buildah's chroot isolation is tested as root")
    folder = tmp_path / "project"
    shutil.copytree(locked_hello, folder)
    cogsmith("build", "-q", "--locked", "-t", "hello", cwd=folder)
    cogsmith("image", "export", "hello", tmp_path / "base")
    only_base(tmp_path / "base")
    (tmp_path / "Containerfile").write_text(cogsmith("debug", cwd=folder).out)
    arguments, volumes = pip_settings()
    with storage(tmp_path / "storage") as options:
        built = subprocess.run(
            [
                *(buildah, *options, "bud", "--isolation", "chroot", "-t", "hello"),
                *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                *("--build-arg", f"BASE=oci:{tmp_path / 'base'}"),
                *(f"--volume={place}:{place}:ro" for place in sorted(volumes)),
                *("-f", str(tmp_path / "Containerfile"), str(folder)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-1000:]
        target = f"oci:{tmp_path / 'out'}:hello"
        subprocess.run(
            [buildah, *options, "push", "--disable-compression", "hello", target], capture_output=True, check=True
        )
    cogsmith("image", "import", tmp_path / "out", "-t", "by-buildah")
    assert cogsmith("run", "by-buildah", "-i", "text=buildah").out == "hello buildah\n"
    refused = cogsmith("run", "by-buildah", "-i", "txet=x", ok=False)
    assert 'unknown input "txet"; valid inputs are: text' in refused.err  # the label is there, and whole
    code = "import cog, sys; print(cog.__file__, sys.prefix)"
    done = cogsmith("exec", "--image", "by-buildah", "python", "-c", code)
    assert done.out == "/opt/cogsmith/sdk/cog/__init__.py /opt/venv\n"
