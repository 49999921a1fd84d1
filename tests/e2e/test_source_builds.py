"""Packages without a wheel: built in the image's environment, locked by hash, brought back or built again elsewhere."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from builder import sandbox
from tests.conftest import Cogsmith, give_base

pytestmark = pytest.mark.network  # of the base: the sources below need nothing from an index

BACKEND = '''"""A backend that lies in the source, as PEP 517 allows: what it builds is known to the last byte."""

import os, socket, subprocess, sys, zipfile

NAME, VERSION = {name!r}, "1.0"


def get_requires_for_build_wheel(settings):
    return {asks}


def build_wheel(folder, settings=None, metadata=None):
    {first}
    name = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    where = sys.prefix, os.getcwd(), os.environ["SOURCE_DATE_EPOCH"]
    text = f"where = {{where}}" + chr(10) + {more}
    info = f"{{NAME}}-{{VERSION}}.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as out:
        for path, data in (
            (NAME + ".py", text),
            (info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"),
            (info + "METADATA", f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n"),
            (info + "RECORD", ""),
        ):
            out.writestr(zipfile.ZipInfo(path), data)
    return name
'''
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["tools"]\n'


def source(name: str, *, first: str = "pass", more: str = "''", asks: str = "[]") -> dict[str, str]:
    return {
        "pyproject.toml": PYPROJECT,
        "tools/own.py": BACKEND.format(name=name, first=first, more=more, asks=asks),
    }


def sdist(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            info.size = len(text.encode())
            out.addfile(info, io.BytesIO(text.encode()))


def repository(folder: Path, files: dict[str, str]) -> str:
    """A repository with these files and a later commit that breaks them; the commit that does not."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    subprocess.run([*git, "tag", "v1"], check=True)
    (folder / "pyproject.toml").write_text("no toml")
    subprocess.run([*git, "commit", "--quiet", "-am", "two"], check=True)
    return commit


@pytest.fixture
def made(locked_hello: Path, tmp_path: Path) -> Path:
    """A project whose base is already known, with a folder of sources."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    folder = tmp_path / "project"
    shutil.copytree(locked_hello, folder)
    text = (folder / "cog.yaml").read_text()
    assert "build:\n" in text
    (folder / "cog.yaml").write_text(text.replace("build:\n", "build:\n  python_requirements: requirements.txt\n", 1))
    return folder


def test_from_sources_to_an_image_and_elsewhere(cogsmith: Cogsmith, made: Path, tmp_path: Path, shared: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    commit = repository(tmp_path / "repository", source("second"))
    sdist(made / "first-1.0.tar.gz", source("first"))
    sdist(made / "never-1.0.tar.gz", source("never"))
    (made / "requirements.txt").write_text(
        f"first-1.0.tar.gz\nsecond @ git+file://{tmp_path}/repository@v1\n"
        "never @ https://localhost.invalid/never-1.0.zip ; sys_platform == 'win32'\n"
    )
    locked = cogsmith("lock", "--no-layers", cwd=made)
    document = tomllib.loads((made / "pylock.cog.toml").read_text())
    first, second = document["packages"]
    assert first["archive"]["path"] == "first-1.0.tar.gz"
    assert second["vcs"] == {"type": "git", "url": f"file://{tmp_path}/repository", "commit-id": commit}
    assert "added first 1.0" in locked.err
    built = cogsmith("build", "--locked", "-t", "sources", cwd=made)
    shown = cogsmith("exec", "python", "-c", "import first, second; print(first.where, second.where)", cwd=made).out
    assert shown.startswith(
        "('/opt/build', '/opt/build/source/first-1.0', '1735689600') ('/opt/build', '/opt/build/source'"
    )
    assert "built from source: first, second" in cogsmith("plan", cwd=made).out

    # Another machine has what can be downloaded, and neither wheels nor layers of them: it builds them, to the same.
    there = Cogsmith(tmp_path / "elsewhere")
    files = there.cache / "cogsmith" / "files" / "sha256"
    files.mkdir(parents=True)
    own = {package["tool"]["cogsmith"]["wheel"]["sha256"] for package in document["packages"]}
    for path in (cogsmith.cache / "cogsmith" / "files" / "sha256").iterdir():
        if path.name not in own:
            os.link(path, files / path.name)
    give_base(cogsmith, made, there)
    there("emit", "containerfile", "--locked", "-o", tmp_path / "emitted", cwd=made)
    wheels = [tmp_path / "emitted" / "wheels" / f"{name}-1.0-py3-none-any.whl" for name in ("first", "second")]
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels} == own
    for sha256 in own:
        (files / sha256).unlink()
    again = there("build", "--locked", "-t", "sources", cwd=made)
    assert again.out == built.out
    assert "building a wheel of first" in again.err

    # The project's archive is not what was locked.
    sdist(made / "first-1.0.tar.gz", source("first", more="'x = 1'"))
    refused = there("build", "--locked", cwd=made, ok=False)
    assert "`first-1.0.tar.gz` in the project changed" in refused.err


@pytest.mark.parametrize(
    ("first", "messages"),
    [
        ("subprocess.run(['gcc', '--version'], check=True)", ["has no compiler: add `build-essential`"]),
        ("os.rmdir(folder); os.symlink('/etc', folder)", ["left a link in place of its folder"]),
        ("import numpy", ["imports what it does not declare"]),
        ("socket.create_connection(('192.0.2.1', 80), 2)", ["downloads something, and has no network"]),
        (
            "print('the last', 'line'); raise SystemExit(3)",
            ["broken-1.0.tar.gz | the last line", "ended with exit code 3"],
        ),
    ],
)
def test_a_build_that_fails(cogsmith: Cogsmith, made: Path, first: str, messages: list[str]) -> None:
    sdist(made / "broken-1.0.tar.gz", source("broken", first=first))
    (made / "requirements.txt").write_text("broken-1.0.tar.gz\n")
    refused = cogsmith("lock", "--no-layers", cwd=made, ok=False)
    assert refused.code == 9
    assert "has no wheel that fits, and could not be built" in refused.err
    for message in messages:
        assert message in refused.err


def test_builds_that_differ(cogsmith: Cogsmith, made: Path, tmp_path: Path) -> None:
    sdist(made / "moving-1.0.tar.gz", source("moving", more="repr(os.urandom(8))"))
    (made / "requirements.txt").write_text("moving-1.0.tar.gz\n")
    locked = cogsmith("lock", "--no-layers", cwd=made)
    assert "two builds of `moving-1.0.tar.gz` gave two wheels" in locked.err
    assert "(each build of moving gives another wheel)" in cogsmith("plan", cwd=made).out
    (package,) = tomllib.loads((made / "pylock.cog.toml").read_text())["packages"]
    cogsmith("build", "--locked", "-t", "moving", cwd=made)  # from the store
    wheel = cogsmith.cache / "cogsmith" / "files" / "sha256" / package["tool"]["cogsmith"]["wheel"]["sha256"]
    assert wheel.is_file()
    there = Cogsmith(tmp_path / "elsewhere")
    files = there.cache / "cogsmith" / "files" / "sha256"
    files.mkdir(parents=True)
    for path in wheel.parent.iterdir():
        if path != wheel:
            os.link(path, files / path.name)
    give_base(cogsmith, made, there)
    refused = there("build", "--locked", cwd=made, ok=False)
    assert "came out as another wheel than the lock names" in refused.err
    assert "--cache-repo" in refused.err


def test_from_an_index(cogsmith: Cogsmith, made: Path, tmp_path: Path) -> None:
    """A package that needs one that has no wheel, and a build that asks for more than it declares."""
    index = tmp_path / "index"
    index.mkdir()
    sdist(
        index / "only_source-1.0.tar.gz",
        source("only_source", asks="['cogsmith-test-helper']", more="__import__('helper').text"),
    )
    with zipfile.ZipFile(index / "cogsmith_test_helper-1.0-py3-none-any.whl", "w") as out:
        out.writestr("helper.py", "text = 'x = 2'\n")
        out.writestr("cogsmith_test_helper-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        out.writestr(
            "cogsmith_test_helper-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: cogsmith-test-helper\nVersion: 1.0\n",
        )
        out.writestr("cogsmith_test_helper-1.0.dist-info/RECORD", "")
    (made / "requirements.txt").write_text("only-source\n")
    first = cogsmith("lock", "--no-layers", cwd=made, env={"UV_FIND_LINKS": str(index)})
    (package,) = tomllib.loads((made / "pylock.cog.toml").read_text())["packages"]
    assert package["sdist"]["name"] == "only_source-1.0.tar.gz"
    assert [wheel["name"] for wheel in package["tool"]["cogsmith"]["requires"]] == ["cogsmith-test-helper"]
    assert "building a wheel of only-source" in first.err
