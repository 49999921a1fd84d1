"""The folder of `emit containerfile`, built by others: the model answers as it does in an image of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from emit.real import build_with_kaniko, pip_settings, storage
from tests.conftest import Cogsmith


@pytest.fixture(scope="module")
def emitted(cogsmith: Cogsmith, locked_hello: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; twice the same."""
    place = tmp_path_factory.mktemp("emitted")
    cogsmith("emit", "containerfile", "--locked", "-o", place / "one", locked_hello)
    cogsmith("emit", "containerfile", "--locked", "-o", place / "two", cwd=locked_hello)
    cogsmith("emit", "containerfile", "--locked", "-o", place / "two", cwd=locked_hello)  # over its own
    differences = subprocess.run(
        ["diff", "-r", place / "one", place / "two"], capture_output=True, text=True, check=False
    )
    assert differences.stdout == ""
    return place / "one"


def check_image(cogsmith: Cogsmith, layout: Path, *, name: str) -> None:
    cogsmith("image", "import", layout, "-t", name)
    assert cogsmith("run", name, "-i", "text=others").out == "hello others\n"
    refused = cogsmith("run", name, "-i", "txet=x", ok=False)
    assert 'unknown input "txet"; valid inputs are: text' in refused.err  # the label is there, and whole
    code = (
        "import cog, os, sys; print(cog.__file__, sys.prefix, sorted(os.listdir('/opt/cogsmith')),"
        " *(oct(os.stat(path).st_mode) for path in ('/etc/shadow', '/usr/bin/passwd', '/src/README.md')))"
    )
    done = cogsmith("exec", "--image", name, "python", "-c", code)
    assert done.out == (
        "/opt/cogsmith/sdk/cog/__init__.py /opt/venv ['sdk', 'server'] 0o100640 0o104755 0o100644\n"
    )  # metadata of the base survives `ADD`


@pytest.mark.network
@pytest.mark.xdist_group("emit")
def test_the_program(cogsmith: Cogsmith, emitted: Path, locked_hello: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    project = repository / "models" / "hello"
    shutil.copytree(locked_hello, project)
    to = ("--destination", "registry.example/me/hello:1")
    told = cogsmith("emit", "kubernetes", *to, "--context", "pvc:work/x", "-o", tmp_path / "job", project).err
    assert f"kubectl apply --server-side -f {tmp_path}/job/job.yaml" in told
    job = (tmp_path / "job" / "job.yaml").read_text()
    assert "--destination=registry.example/me/hello:1" in job
    assert '"--label=run.cog.config={' in job
    emitted_too = tmp_path / "job" / "context"
    assert (emitted_too / "SHA256SUMS").read_bytes() == (emitted / "SHA256SUMS").read_bytes()
    too_large = cogsmith("emit", "kubernetes", *to, "-o", project / "map", project, ok=False)
    assert "a ConfigMap holds 1 MiB at most" in too_large.err
    assert "lies in the project and will be in the next image" in too_large.err
    nowhere = cogsmith("emit", "kubernetes", "-o", tmp_path / "map", project, ok=False)
    assert "where is the image to be pushed?" in nowhere.err
    small = cogsmith(
        "emit", "kubernetes", *to, "--from-image", "python:3.11", "-o", tmp_path / "map", project, ok=False
    )
    assert (small.code == 0) is (
        tmp_path / "map" / "job.yaml"
    ).exists()  # wheels that no index has are too large for it
    assert "`python:3.11` must have /usr/bin/python3.11" in small.err
    for system, place in (("gitlab", ".gitlab-ci.yml"), ("github", ".github/workflows/image.yml")):
        cogsmith("emit", system, "-o", repository, project)
        cogsmith("emit", system, "--builder", "kaniko", "-o", repository, cwd=project)
        made = repository / place
        assert "models/hello" in made.read_text()
        made.write_text(made.read_text() + "# mine\n")
        refused = cogsmith("emit", system, "-o", repository, project, ok=False)
        assert f"{place}` is not as Cogsmith wrote it" in refused.err
    outside = cogsmith("emit", "github", "-o", tmp_path / "outside", project)
    assert f"the project is not below `{tmp_path}/outside`" in outside.err
    refused = cogsmith("emit", "containerfile", "-o", repository, project, ok=False)
    assert "holds files that would be lost" in refused.err
    assert not [path for path in tmp_path.rglob(".*") if path.name.startswith((".job.", ".map.", ".repository"))]


@pytest.mark.network
@pytest.mark.tool
@pytest.mark.xdist_group("emit")
@pytest.mark.usefixtures("containers")
def test_buildah_builds_it(cogsmith: Cogsmith, emitted: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    buildah = tool("buildah")
    if os.geteuid():
        pytest.skip("not root: buildah's chroot isolation is tested as root")
    arguments, volumes = pip_settings()
    with storage(tmp_path / "storage") as options:
        built = subprocess.run(
            [
                *(buildah, *options, "bud", "--isolation", "chroot", "-t", "emitted"),
                *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                *(f"--volume={place}:{place}:ro" for place in sorted(volumes)),
                emitted,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-1000:]
        target = f"oci:{tmp_path / 'out'}:emitted"
        subprocess.run(
            [buildah, *options, "push", "--disable-compression", "emitted", target], capture_output=True, check=True
        )
    check_image(cogsmith, tmp_path / "out", name="emitted-by-buildah")


@pytest.mark.network
@pytest.mark.tool
@pytest.mark.xdist_group("emit")
@pytest.mark.usefixtures("containers")
def test_kaniko_builds_it(cogsmith: Cogsmith, emitted: Path, tmp_path: Path) -> None:
    executor = os.environ.get("COGSMITH_KANIKO_EXECUTOR")
    if not executor:
        pytest.skip("COGSMITH_KANIKO_EXECUTOR names no executor of Kaniko's")
    arguments = {"PIP_CERT": "/certificates/ca-certificates.crt"} if "PIP_CERT" in pip_settings()[0] else {}
    layout = build_with_kaniko(executor, emitted, scratch=tmp_path / "kaniko", arguments=arguments)
    check_image(cogsmith, layout, name="emitted-by-kaniko")
