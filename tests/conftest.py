"""What all tests share: the program as a user starts it, a store that is filled once, and tools that may be absent."""

from __future__ import annotations

import compileall
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder import sandbox
from builder.store import Store
from tests import starter

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has its children ignore interrupts; what is tested would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
NEEDED = ("click", "deflate", "packaging", "pysequoia", "PyYAML", "requests", "tomli-w", "zstandard")
"""What the builder imports, uv apart, which is a program."""


REAL = frozenset(
    {"cli", "contract", "debian", "e2e", "emit", "engine", "executed", "kaniko", "nix", "packages", "registry"}
    | {"runtime", "sandbox", "store"}
)
"""Folders whose tests start processes and talk to them."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile our own modules once: hundreds of processes import them, and an environment may forbid to keep that."""
    if not hasattr(config, "workerinput") and os.access(ROOT, os.W_OK):
        for folder in ("builder", "runtime"):
            compileall.compile_dir(ROOT / folder, quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test of real processes that fails again, aloud: the summary lists it as RERUN, to be looked at."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0] if item.path.is_relative_to(ROOT / "tests") else ""
        if folder in REAL or item.get_closest_marker("network"):
            item.add_marker(pytest.mark.flaky(reruns=2))


@dataclasses.dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    code: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class Cogsmith:
    """The program `cogsmith`, run as a user would, with a cache of its own."""

    cache: Path

    def env(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COG_", "COGSMITH_", "SOURCE_DATE_EPOCH"))}
        if mirror := os.environ.get("COGSMITH_DEBIAN_MIRROR"):
            kept["COGSMITH_DEBIAN_MIRROR"] = mirror
        return {**kept, "XDG_CACHE_HOME": str(self.cache), "PYTHONPATH": str(ROOT), **(changes or {})}

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        ok: bool = True,
        stdin: str | None = None,
        timeout: float = 300,
    ) -> Done:
        words, whole = [str(word) for word in arguments], self.env(env)
        if starter.differs(whole):
            done = subprocess.run(
                [sys.executable, "-m", "builder.cli", *words],
                cwd=cwd,
                env=whole,
                input=stdin,
                stdin=None if stdin is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        else:
            done = starter.run(words, cwd=cwd, env=whole, stdin=stdin, timeout=timeout)
        assert f'File "{ROOT}/builder' not in done.stderr, done.stderr  # a traceback of ours is a bug, always
        if ok:
            assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the whole run, the same for every xdist worker."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cogsmith(shared: Path) -> Cogsmith:
    """The program, with a store that all tests of the run fill and use."""
    return Cogsmith(shared / "cache")


def place(draft: Path, folder: Path) -> None:
    """Let `draft` appear whole as `folder`, unless another worker was quicker."""
    try:
        draft.rename(folder)
    except OSError:
        assert folder.exists()


def give_inputs(source: Cogsmith, project: Path, target: Cogsmith) -> None:
    """Let `target` have what `source` downloaded of what the project's lock names, and nothing that was made of it."""
    names = set(re.findall(r"\b[0-9a-f]{64}\b", (project / "pylock.cog.toml").read_text()))
    here, there = (it.cache / "cogsmith" / "files" / "sha256" for it in (source, target))
    there.mkdir(parents=True)
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # an artifact for another machine
            os.link(here / name, there / name)


def give_base(source: Cogsmith, project: Path, target: Cogsmith) -> None:
    """Let `target` have the layer of the locked project's Debian base too, for whom the base is not the question."""
    plan = json.loads(source("plan", "--locked", "--json", cwd=project).out)
    with Store.open(source.cache / "cogsmith") as here, Store.open(target.cache / "cogsmith") as there:
        for layer, key in zip(plan["layers"], plan["keys"], strict=True):
            if layer["kind"] == "debian" and (packed := here.layer(key)) is not None:
                there.adopt(here.blob_path(packed.digest), packed.digest)
                there.record_layer(key, packed)


@pytest.fixture(scope="session")
def locked_hello(cogsmith: Cogsmith, shared: Path) -> Path:
    """A copy of hello-world with a lock file: Debian's index is read once, not for each project."""
    folder = shared / "locked-hello"
    if not folder.exists():
        draft = shared / f"locked-hello.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)  # of an attempt that failed
        shutil.copytree(ROOT / "examples" / "hello-world", draft)
        cogsmith("lock", "--no-layers", cwd=draft)
        place(draft, folder)
    return folder


@pytest.fixture
def containers(tmp_path: Path) -> None:
    """Skips, aloud, where no container can run."""
    problems = sandbox.check(scratch=tmp_path / "probe")
    if problems:
        pytest.skip(f"no containers on this machine: {problems[0]}")


@pytest.fixture
def fresh(tmp_path: Path) -> Cogsmith:
    """The program, with an empty store."""
    return Cogsmith(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """Copies an example to a folder of the test's own."""

    def copy(name: str) -> Path:
        target = tmp_path / name
        shutil.copytree(ROOT / "examples" / name, target)
        return target

    return copy


@pytest.fixture
def tool() -> Callable[[str], str]:
    """The path of a program; skips, aloud, if it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@dataclasses.dataclass(frozen=True)
class Ordinary:
    """An ordinary user of this machine, with a home that holds the builder and what it needs."""

    name: str
    uid: int
    home: Path
    python: str

    def give(self, source: Path, name: str) -> Path:
        """A copy of a folder below the user's home, owned by the user."""
        target = self.home / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)
        subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", self.home], check=True)
        return target

    def run(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run the user's Python with `arguments`."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env={
                "HOME": str(self.home),
                "USER": self.name,
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": f"{self.home}/lib",
                **(env or {}),
            },
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def closure(names: tuple[str, ...]) -> list[importlib.metadata.Distribution]:
    """The installed distributions that these need, themselves included."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return list(found.values())


@pytest.fixture(scope="session")
def ordinary() -> Iterator[Ordinary]:
    """An ordinary user, made for the tests where we are root; skips, aloud, elsewhere."""
    if os.getuid() != 0:
        pytest.skip("not root, so no other user can be made")
    python = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    if not Path(python).exists():
        pytest.skip(f"{python} is not installed, and another user may not read this interpreter")
    name = "cogsmith-test"
    if subprocess.run(["id", name], capture_output=True, check=False).returncode:
        made = subprocess.run(["useradd", "--create-home", name], capture_output=True, text=True, check=False)
        if made.returncode and "already exists" not in made.stderr:
            pytest.skip(f"useradd: {made.stderr.strip()}")
    user = pwd.getpwnam(name)
    home = Path(tempfile.mkdtemp(prefix="cogsmith-ordinary-"))
    (home / "lib").mkdir()
    for folder in ("builder", "nix", "runtime"):
        shutil.copytree(ROOT / folder, home / "lib" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for distribution in closure(NEEDED):
        for file in distribution.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = home / "lib" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(distribution.locate_file(file)), target)
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        (home / "lib" / "bin").mkdir(exist_ok=True)
        shutil.copy(uv, home / "lib" / "bin" / "uv")
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", home], check=True)
    home.chmod(0o755)
    yield Ordinary(name=name, uid=user.pw_uid, home=home, python=python)
    shutil.rmtree(home, ignore_errors=True)
