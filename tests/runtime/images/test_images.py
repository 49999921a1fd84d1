"""A built image for every Python that this machine has and Debian does not: made, run, asked.

Python 3.11 and 3.13 are Debian's own and built in most other tests.  For the others the base image is the Debian base
with an interpreter of this machine in /usr/local, as a user's own base image would have it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from interpreters import SUPPORTED, interpreters

from builder import oci
from builder.oci import PackedLayer
from builder.plan import ImageConfig
from builder.store import Store
from tests.conftest import Cogsmith

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("containers"), pytest.mark.xdist_group("hello")]

DEBIANS = ("3.11", "3.13")

ALWAYS = ("3.8", "3.12")
"""The others are as much work each and differ little: with COGSMITH_TEST_ALL_PYTHONS in the environment."""

LEFT_OUT = (
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
)

YAML = 'build:\n  python_version: "{version}"\n  base_image: "oci:layout:python-{version}:1"\nrun: "run.py:Runner"\n'

SOURCE = """
import platform, subprocess, sys
from cog import BaseRunner, ConcatenateIterator, Input


class Runner(BaseRunner):
    def setup(self) -> None:
        self.ready = True

    def run(self, text: str, times: int = Input(default=2, ge=1, le=3)) -> ConcatenateIterator[str]:
        assert self.ready
        print("logged", flush=True)
        subprocess.run([sys.executable, "-c", "import cog"], check=True)
        for _ in range(times):
            yield f"{text} {platform.python_version()} "
"""


def interpreter_layer(python: Path, version: str) -> bytes:
    """A tar of an interpreter and its standard library, in /usr/local."""
    home = python.resolve().parent.parent
    library = f"lib/python{version}"

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = member.name.split("/")
        if any(part in LEFT_OUT or part.startswith("config-") for part in parts):
            return None
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(home / "bin" / f"python{version}", f"usr/local/bin/python{version}", filter=wanted)
        archive.add(home / library, f"usr/local/{library}", filter=wanted)
        header = f"include/python{version}/patchlevel.h"
        archive.add(home / header, f"usr/local/{header}", filter=wanted)
        for shared in home.glob("lib/libpython*.so*"):
            archive.add(shared, f"usr/local/lib/{shared.name}", filter=wanted)
        for name in ("python", "python3"):
            link = tarfile.TarInfo(f"usr/local/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"python{version}"
            archive.addfile(link)
    return buffer.getvalue()


def make_base(cogsmith: Cogsmith, python: Path, version: str) -> None:
    """The base image `python-VERSION:1`."""
    tar = interpreter_layer(python, version)
    digest = f"sha256:{hashlib.sha256(tar).hexdigest()}"
    with Store.open(cogsmith.cache / "cogsmith") as store:
        hello = store.image("hello")
        assert hello is not None
        store.put(tar)
        layers = [
            hello.layers[0],
            PackedLayer(digest=digest, diff_id=digest, size=len(tar), media_type=oci.LAYER_MEDIA_TYPES["plain"]),
        ]
        image = ImageConfig(
            env=(("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LD_LIBRARY_PATH", "/usr/local/lib")),
            entrypoint=(), cmd=("sh",), working_dir="/", exposed_ports=(), labels=(),
        )  # fmt: skip
        platform = f"linux/{hello.config['architecture']}"
        config = oci.image_config(image, platform=platform, epoch=0, layers=layers, comments=["debian", "python"])
        manifest = oci.image_manifest(config.descriptor, layers=layers, annotations=())
        store.put(config.data)
        store.put(manifest.data)
        store.set_image(f"python-{version}:1", manifest.descriptor)


@pytest.mark.parametrize("version", [version for version in SUPPORTED if version not in DEBIANS])
def test_an_image_with_this_python_answers(cogsmith: Cogsmith, tmp_path: Path, version: str) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    if version not in ALWAYS and "COGSMITH_TEST_ALL_PYTHONS" not in os.environ:
        pytest.skip("set COGSMITH_TEST_ALL_PYTHONS for an image of this one too")
    if os.path.realpath(python).startswith("/usr/bin/"):
        pytest.skip(f"Python {version} is the distribution's here, and in many places")
    cogsmith("build", "-q", "-t", "hello", "examples/hello-world")
    make_base(cogsmith, python, version)
    cogsmith("image", "export", f"python-{version}:1", tmp_path / "layout")
    (tmp_path / ".dockerignore").write_text("layout\n")
    (tmp_path / "cog.yaml").write_text(YAML.format(version=version))
    (tmp_path / "run.py").write_text(SOURCE)
    cogsmith("build", "-q", "-t", f"on-{version}", cwd=tmp_path)
    answer = cogsmith("run", f"on-{version}", "-i", "text=hello", cwd=tmp_path)
    told = json.loads(answer.out)
    assert [line.rpartition(".")[0] for line in told] == [f"hello {version}"] * 2, answer
    assert "logged" in answer.err
