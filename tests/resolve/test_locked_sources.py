"""Packages without a wheel in another tool's lock: built for the image, locked, and the same set for `uv pip sync`."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from small_index import Index, Served
from uv import find_uv_bin

from builder import sandbox
from builder.errors import ResolveError
from builder.resolve import foreign, pyproject
from builder.resolve.graph import File, Origin
from tests.conftest import Cogsmith

BACKEND = '''"""A backend that lies in the source, as PEP 517 allows: it needs nothing from an index."""

import importlib.util, os, zipfile

NAME = {name!r}


def build_wheel(folder, settings=None, metadata=None):
    assert importlib.util.find_spec("wheel") is None, "nobody asked for that, and a file of who builds is no module"
    name = f"{{NAME}}-1.0-py3-none-any.whl"
    info = f"{{NAME}}-1.0.dist-info/"
    files = {{
        NAME + ".py": open("data.txt").read(),
        info + "WHEEL": "Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        info + "METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: 1.0\\n",
    }}
    files[info + "RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, info + "RECORD"])
    with zipfile.ZipFile(os.path.join(folder, name), "w") as out:
        for path, text in files.items():
            out.writestr(zipfile.ZipInfo(path), text)
    return name


build_editable = build_wheel
'''


def source(name: str) -> dict[str, str]:
    return {
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "1.0"\n[build-system]\nrequires = []\n'
        'build-backend = "own"\nbackend-path = ["tools"]\n',
        "tools/own.py": BACKEND.format(name=name.replace("-", "_")),
        "data.txt": f"name = {name!r}\n",
    }


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def sdist(path: Path, name: str) -> Path:
    info = f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n"
    with tarfile.open(path, "w:gz") as out:
        for place, text in {**source(name), "PKG-INFO": info}.items():
            member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{place}")
            member.size = len(text.encode())
            out.addfile(member, io.BytesIO(text.encode()))
    return path


def repository(folder: Path) -> str:
    """A repository of two packages, below `one` and `two`; its commit."""
    write(folder / "one", source("from-git"))
    write(folder / "two", source("from-git-too"))
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()


NAMES = ("from-file", "from-folder", "from-git", "from-git-too", "from-index", "from-url")


@pytest.mark.network  # of the base: the sources below need nothing from an index
def test_a_lock_of_uv_with_sources_of_every_kind(
    cogsmith: Cogsmith, locked_hello: Path, index: Index, serve: Callable[..., Served], tmp_path: Path
) -> None:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    project = tmp_path / "project"
    shutil.copytree(locked_hello, project)
    text = (project / "cog.yaml").read_text()
    (project / "cog.yaml").write_text(text.replace("build:\n", "build:\n  python_project: pyproject.toml\n", 1))
    commit = repository(tmp_path / "repository")
    git = f'git = "file://{tmp_path}/repository", subdirectory'
    write(project / "libs/folder", source("from-folder"))
    sdist(project / "from_file-1.0.tar.gz", "from-file")
    index.offer("from-index", sdist(index.files / "from_index-1.0.tar.gz", "from-index"))
    served = serve(index.root)
    sdist(index.files / "from_url-1.0.tar.gz", "from-url")
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "model"\nversion = "0"\nrequires-python = ">=3.8"\ndependencies = {list(NAMES)}\n'
        "[tool.uv.sources]\n"
        f'from-git = {{ {git} = "one" }}\nfrom-git-too = {{ {git} = "two" }}\n'
        'from-file = { path = "from_file-1.0.tar.gz" }\nfrom-folder = { workspace = true }\n'
        f'from-url = {{ url = "http://{served.host}/files/from_url-1.0.tar.gz" }}\n'
        'from-index = { index = "own" }\n[tool.uv.workspace]\nmembers = ["libs/*"]\n'
        f'[[tool.uv.index]]\nname = "own"\nurl = "http://{served.host}/simple"\nexplicit = true\n'
    )
    env = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_PYTHON": sys.executable}
    subprocess.run([find_uv_bin(), "lock", "-q"], cwd=project, env=env, check=True)
    told = cogsmith("lock", "--no-layers", cwd=project, timeout=600)
    for name in NAMES:
        assert f"building a wheel of {name}" in told.err
    document = tomllib.loads((project / "pylock.cog.toml").read_text())
    packages = {package["name"]: package for package in document["packages"]}
    assert tuple(packages) == NAMES
    assert packages["from-folder"]["directory"] == {"path": "libs/folder"}
    assert packages["from-git-too"]["vcs"]["commit-id"] == commit
    assert packages["from-index"]["sdist"]["url"] == f"http://{served.host}/files/from_index-1.0.tar.gz"
    assert packages["from-file"]["archive"]["path"] == "from_file-1.0.tar.gz"

    # Caches, and how the files' modes are set, are no change of a folder; its contents are.
    write(project / "libs/folder", {"__pycache__/x.pyc": "", "from_folder.egg-info/PKG-INFO": ""})
    (project / "libs/folder/data.txt").chmod(0o600)
    assert cogsmith("lock", "--check", cwd=project).out == ""
    cogsmith("build", "--locked", "-t", "sources-of-uv", cwd=project)
    code = f"import {', '.join(name.replace('-', '_') for name in NAMES)} as last; print(last.name, from_folder.name)"
    assert cogsmith("exec", "python", "-c", code, cwd=project).out.split() == ["from-url", "from-folder"]
    shown = json.loads(cogsmith("image", "inspect", "--json", "sources-of-uv").out)
    label = shown["config"]["config"]["Labels"]["run.cog.pip_freeze"].splitlines()
    commits = [f"{name} @ git+file://{tmp_path}/repository@{commit}#subdirectory={below}"
               for name, below in (("from-git", "one"), ("from-git-too", "two"))]  # fmt: skip
    assert [line for line in label if "git+" in line] == commits
    assert [line.partition(" ")[0].partition("==")[0] for line in label] == list(NAMES)

    # Another tool that reads the lock makes the same of it, and says what the image's label says.
    if sys.version_info[:2] == (3, 11) and os.uname().machine == "x86_64":
        uv, venv = find_uv_bin(), tmp_path / "venv"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], env=env, check=True)
        sync = [uv, "pip", "sync", "-q", "--preview", "--python", venv, "pylock.cog.toml"]
        subprocess.run(sync, cwd=project, env=env, check=True)
        frozen = subprocess.check_output([uv, "pip", "freeze", "--python", venv], env=env, text=True).splitlines()
        assert [line.partition(" ")[0].partition("==")[0] for line in frozen] == list(NAMES)
        assert [line for line in frozen if "git+" in line] == commits

    write(project / "libs/folder", {"data.txt": "name = 'other'\n"})
    stale = cogsmith("lock", "--check", cwd=project, ok=False)
    assert "`libs/folder` in the project changed" in stale.out


COMMIT = "6c364514dcf1a59bf65086522a94c4aaec42c0ab"
POETRY = f"""
[[package]]
name = "from-git"
version = "1.0"
python-versions = "*"
files = []
[package.source]
type = "git"
url = "https://git.invalid/all.git"
reference = "HEAD"
resolved_reference = "{COMMIT}"
subdirectory = "one"
[[package]]
name = "from-url"
version = "1.0"
python-versions = "*"
files = [{{file = "u-1.0.tar.gz", hash = "sha256:aa"}}]
[package.source]
type = "url"
url = "https://files.invalid/u-1.0.tar.gz"
[[package]]
name = "from-file"
version = "1.0"
python-versions = "*"
files = [{{file = "f-1.0.zip", hash = "sha256:bb"}}]
[package.source]
type = "file"
url = "f-1.0.zip"
[[package]]
name = "from-folder"
version = "1.0"
python-versions = "*"
files = []
[package.source]
type = "directory"
url = "libs/folder"
[[package]]
name = "from-index"
version = "1.0"
python-versions = "*"
files = [{{file = "from_index-1.0.zip", hash = "sha256:cc"}}, {{file = "from_index-1.0.tar.gz", hash = "sha256:dd"}}]
[metadata]
lock-version = "2.1"
"""
PDM = f"""
[metadata]
lock_version = "4.5.0"
[[package]]
name = "from-git"
version = "1.0"
git = "https://git.invalid/all.git"
ref = "main"
revision = "{COMMIT}"
subdirectory = "one"
[[package]]
name = "from-url"
version = "1.0"
url = "https://files.invalid/u-1.0.tar.gz"
files = [{{url = "https://files.invalid/u-1.0.tar.gz", hash = "sha256:aa"}}]
[[package]]
name = "from-file"
version = "1.0"
path = "./f-1.0.zip"
files = [{{file = "f-1.0.zip", hash = "sha256:bb"}}]
[[package]]
name = "from-folder"
version = "1.0"
path = "./libs/folder"
[[package]]
name = "from-index"
version = "1.0"
files = [{{file = "from_index-1.0.tar.gz", hash = "sha256:dd"}}]
"""
PYLOCK = f"""
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "from-git"
version = "1.0"
vcs = {{ type = "git", url = "https://git.invalid/all.git", commit-id = "{COMMIT}", subdirectory = "one" }}
[[packages]]
name = "from-url"
version = "1.0"
archive = {{ url = "https://files.invalid/u-1.0.tar.gz", hashes = {{ sha256 = "aa" }} }}
[[packages]]
name = "from-file"
version = "1.0"
archive = {{ path = "f-1.0.zip", hashes = {{ sha256 = "bb" }} }}
[[packages]]
name = "from-folder"
version = "1.0"
directory = {{ path = "libs/folder" }}
[[packages]]
name = "from-index"
version = "1.0"
sdist = {{ name = "from_index-1.0.tar.gz", path = "x/from_index-1.0.tar.gz", hashes = {{ sha256 = "dd" }} }}
"""


@pytest.mark.parametrize(("name", "text"), [("poetry.lock", POETRY), ("pdm.lock", PDM), ("pylock.toml", PYLOCK)])
def test_where_sources_are(name: str, text: str, tmp_path: Path) -> None:
    write(tmp_path, {name: text, "pyproject.toml": '[project]\nname = "m"\ndependencies = []\n'})
    read = foreign.read(pyproject.find_files(tmp_path, name="."), folder=tmp_path)
    found = {package.name: package.origin or package.sdist for package in read.packages}
    assert not any(package.files for package in read.packages)
    own = found.pop("from-index")
    assert isinstance(own, File)
    assert (own.name, own.sha256) == ("from_index-1.0.tar.gz", "dd")
    assert own.url == ("" if name != "pylock.toml" else (tmp_path / "x/from_index-1.0.tar.gz").as_uri())
    assert found == {
        "from-git": Origin(kind="git", place="https://git.invalid/all.git", commit=COMMIT, subdirectory="one"),
        "from-url": Origin(kind="archive", place="https://files.invalid/u-1.0.tar.gz", sha256="aa"),
        "from-file": Origin(kind="archive", place=(tmp_path / "f-1.0.zip").as_uri(), sha256="bb"),
        "from-folder": Origin(kind="directory", place=(tmp_path / "libs/folder").as_uri()),
    }


def test_of_version_control_only_git(tmp_path: Path) -> None:
    write(tmp_path, {"pdm.lock": PDM.replace("git =", "hg ="), "pyproject.toml": '[project]\nname = "m"\n'})
    with pytest.raises(ResolveError, match="only git is known, and the lock names one for hg"):
        foreign.read(pyproject.find_files(tmp_path, name="."), folder=tmp_path)
