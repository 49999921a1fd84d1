"""`build.python_project`: the locks of uv, Poetry and PDM are kept to the letter; what they cannot say is said."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_locks import LOCKS, POETRY, PYPROJECT, UV
from small_index import Index, Served, Told

from builder.config import Config
from builder.errors import CogsmithError, ConfigError, ResolveError
from builder.plan import Wheel
from builder.resolve import foreign, graph, indexes, pyproject
from builder.resolve.packages import Packages
from builder.resolve.wheels import UnsatisfiableError
from builder.store import Store


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclasses.dataclass
class World:
    """Wheels on an index, of which `newer` came after the lock was written."""

    project: Path
    index: Index
    files: dict[str, Path]
    newer: Path

    def write(self, lock: str, text: str, *, project: str = PYPROJECT) -> None:
        (self.project / "pyproject.toml").write_text(project)
        for name, path in self.files.items():
            text = text.replace(f"BARE({name})", sha(path))
            text = text.replace(f"HASH({name})", f"sha256:{sha(path)}").replace(f"URL({name})", path.as_uri())
            text = text.replace(f"FILE({name})", path.name)
        (self.project / lock).write_text(text.replace("INDEX", self.index.url))


@pytest.fixture
def world(tmp_path: Path, index: Index) -> World:
    project = tmp_path / "project"
    project.mkdir()
    files = {
        "top": index.add("top", "1.0", requires=("below", 'extra-thing; extra == "more"')),
        "below": index.add("below", "1.0"),
        "extra-thing": index.add("extra-thing", "1.0"),
        "unwanted": index.add("unwanted", "1.0"),
        "old": index.add("old", "1.0"),
    }
    index.add("below", "2.0")
    newer = index.add("below", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    return World(project=project, index=index, files=files, newer=newer)


@pytest.fixture
def resolve(world: World, store: Store, bare_env: dict[str, str], told: Told) -> Callable[..., tuple[Wheel, ...]]:
    def call(*, python: str = "3.11.2", env: dict[str, str] | None = None) -> tuple[Wheel, ...]:
        files = pyproject.find_files(world.project, name="pyproject.toml")
        assert pyproject.loads(files.dumps()) == files
        given = {**bare_env, "PIP_INDEX_URL": world.index.url} if env is None else {**bare_env, **env}
        config = Config(python_version=python, python_project="pyproject.toml")
        packages = Packages.of(config, project=world.project, text=files.dumps(), store=store, env=given, report=told)
        return packages.resolve(python, platform="linux/amd64", glibc="2.36", keep={})[0]

    return call


@pytest.mark.parametrize(("name", "text"), LOCKS)
def test_the_main_dependencies_as_locked(
    resolve: Callable[..., tuple[Wheel, ...]], world: World, name: str, text: str
) -> None:
    world.write(name, text)
    found = resolve()
    assert [(wheel.name, wheel.version, wheel.sha256) for wheel in found] == [
        (name, "1.0", sha(world.files[name])) for name in ("below", "extra-thing", "top")
    ]
    assert world.newer.name not in [wheel.filename for wheel in found]
    assert [wheel.name for wheel in resolve(python="3.9.20")] == ["below", "extra-thing", "old", "top"]


def test_uv_means_the_same(world: World, bare_env: dict[str, str]) -> None:
    # Our reading of uv.lock against uv's own.
    import uv

    world.write("uv.lock", UV)
    command = [uv.find_uv_bin(), "export", "--frozen", "--no-dev", "--no-hashes", "--no-header", "--no-annotate"]
    done = subprocess.run(
        [*command, "--no-emit-project", "--python", "3"],
        cwd=world.project,
        env={**os.environ, **bare_env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = pyproject.find_files(world.project, name=".")
    read = foreign.read(files, folder=world.project)
    lines = [line.partition(";")[0].strip() for line in done.stdout.splitlines() if "<" not in line.partition(";")[2]]
    variables = graph.environment(python_version="3.11.2", platform="linux/amd64")
    assert [f"{p.name}=={p.version}" for p in graph.select(read, variables=variables)] == lines


def test_what_the_index_lacks_comes_from_where_the_lock_says(
    resolve: Callable[..., tuple[Wheel, ...]], world: World, tmp_path: Path
) -> None:
    world.write("uv.lock", UV)
    empty = Index(tmp_path / "empty")
    found = resolve(env={"PIP_INDEX_URL": empty.url})
    assert [wheel.sha256 for wheel in found] == [sha(world.files[name]) for name in ("below", "extra-thing", "top")]
    world.write("poetry.lock", POETRY)
    (world.project / "uv.lock").unlink()
    with pytest.raises(ResolveError, match="no package index that is set has"):
        resolve(env={"PIP_INDEX_URL": empty.url})


def test_an_index_with_another_file_of_that_name(
    resolve: Callable[..., tuple[Wheel, ...]], world: World, tmp_path: Path
) -> None:
    world.write("poetry.lock", POETRY)
    other = Index(tmp_path / "other")
    for name in ("below", "extra-thing"):
        other.add(name, "1.0", requires=("never; python_version < '3'",))
    other.add("top", "1.0")
    with pytest.raises(ResolveError, match=r"has the files of `below` 1\.0 that poetry\.lock names") as caught:
        resolve(env={"PIP_INDEX_URL": other.url})
    assert sha(world.files["below"]) in (caught.value.details or "")


def test_an_index_of_the_project_is_asked_for_what_it_has(
    resolve: Callable[..., tuple[Wheel, ...]],
    world: World,
    tmp_path: Path,
    serve: Callable[..., Served],
) -> None:
    served = serve(world.index.root, user="me:secret")
    url = f"http://{served.host}/simple"
    text = POETRY.replace("[metadata]", f'[package.source]\ntype = "legacy"\nurl = "{url}"\n[metadata]')
    source = f'[[tool.poetry.source]]\nname = "my-own"\nurl = "{url}/"\n'
    world.write("poetry.lock", text, project=PYPROJECT.replace("top[more]>=1", "unwanted") + source)
    env = {"PIP_INDEX_URL": Index(tmp_path / "empty").url}
    with pytest.raises(ResolveError, match="refused access"):
        resolve(env=env)
    for kind in ("POETRY_HTTP_BASIC_MY_OWN", "UV_INDEX_MY_OWN"):
        found = resolve(env={**env, f"{kind}_USERNAME": "me", f"{kind}_PASSWORD": "secret"})
        assert [wheel.name for wheel in found] == ["unwanted"]


def test_users_of_named_indexes_are_found_again_for_downloads(world: World) -> None:
    (world.project / "pyproject.toml").write_text(
        '[[tool.uv.index]]\nname = "corp"\nurl = "https://a.invalid/simple"\n'
        '[[tool.pdm.source]]\nname = "x"\nurl = "https://me:pw@b.invalid/simple"\n'
    )
    text = pyproject.find_files(world.project, name=".").dumps()
    assert pyproject.named_indexes(text) == (
        ("corp", "https://a.invalid/simple"),
        ("x", "https://me:pw@b.invalid/simple"),
    )
    assert indexes.credentials({}, texts=[text]) == {"https://b.invalid:": ("me", "pw")}
    assert pyproject.named_indexes("numpy\n{") == pyproject.named_indexes("{") == ()


@pytest.mark.parametrize(
    ("project", "lock", "brief"),
    [
        (PYPROJECT.replace(">=1", ">=2"), UV, "`uv.lock` does not answer the project: `top>=2` is not in it"),
        (PYPROJECT.replace("top", "gone"), UV, "`uv.lock` does not answer the project: it is for dependencies that"),
        (PYPROJECT.replace("top[more]>=1", 'top[more]>=1", "new'), UV, "`uv.lock` does not answer the project: `new`"),
        (PYPROJECT, UV.replace("version = 1\n", "version = 9\n"), "`uv.lock` is not of a form that this release"),
        (PYPROJECT, UV.replace('name = "below"\n', ""), "`uv.lock` is not of a form that this release understands"),
        (PYPROJECT, UV + "[[package\n", "`uv.lock` is not TOML"),
        (PYPROJECT + "[[x\n", UV, "`pyproject.toml` is not TOML"),
        (
            PYPROJECT,
            UV.replace('source = { registry = "INDEX" }', 'source = { git = "https://a.invalid/x#0" }', 1),
            "uv.lock holds packages that somebody would have to build",
        ),
        (
            PYPROJECT,
            UV.replace('source = { registry = "INDEX" }', 'source = { editable = "packages/below" }', 1),
            "uv.lock holds packages that somebody would have to build",
        ),
        (
            PYPROJECT,
            UV.replace('wheels = [{ url = "URL(below)", hash = "HASH(below)" }]', "", 1),
            "uv.lock holds packages that somebody would have to build",
        ),
    ],
)
def test_locks_that_do_not_do(
    resolve: Callable[..., tuple[Wheel, ...]], world: World, project: str, lock: str, brief: str
) -> None:
    world.write("uv.lock", lock, project=project)
    with pytest.raises(CogsmithError) as caught:
        resolve()
    assert caught.value.brief.startswith(brief)
    assert caught.value.hint


def test_a_lock_for_other_pythons(resolve: Callable[..., tuple[Wheel, ...]], world: World) -> None:
    world.write("poetry.lock", POETRY.replace('python-versions = "^3.8"', 'python-versions = ">=3.8,<3.11"'))
    with pytest.raises(UnsatisfiableError, match=r"`top` 1\.0 of poetry\.lock needs Python >=3.8,<3.11"):
        resolve()


def test_without_a_lock_it_is_resolved(resolve: Callable[..., tuple[Wheel, ...]], world: World) -> None:
    (world.project / "pyproject.toml").write_text(PYPROJECT)
    assert [(wheel.name, wheel.version) for wheel in resolve()] == [
        ("below", "2.0"), ("extra-thing", "1.0"), ("top", "1.0")
    ]  # fmt: skip


def test_without_a_lock_the_projects_own_indexes_count(
    resolve: Callable[..., tuple[Wheel, ...]], world: World, tmp_path: Path
) -> None:
    more = Index(tmp_path / "more")
    more.add("private")
    text = PYPROJECT.replace("top[more]>=1", "private") + f'[[tool.uv.index]]\nname = "x"\nurl = "{more.url}"\n'
    (world.project / "pyproject.toml").write_text(text)
    assert [wheel.name for wheel in resolve()] == ["private"]


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ('[project]\nname = "a"\ndynamic = ["dependencies"]\n', "the dependencies in `pyproject.toml` are dynamic"),
        (
            '[tool.poetry.dependencies]\npython = "^3.9"\ntop = "^1"\n',
            "the dependencies in `pyproject.toml` are Poetry",
        ),
        ('[project]\ndependencies = ["a"]\n[tool.uv.sources]\na = { git = "x" }\n', "`tool.uv.sources` in"),
        ('[project]\ndependencies = "a"\n', "`project.dependencies` in `pyproject.toml` must be a list"),
    ],
)
def test_projects_that_need_a_lock(
    resolve: Callable[..., tuple[Wheel, ...]], world: World, text: str, brief: str
) -> None:
    (world.project / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve()
    assert caught.value.brief.startswith(brief)


def test_poetrys_own_dependencies(resolve: Callable[..., tuple[Wheel, ...]], world: World) -> None:
    own = """
[tool.poetry.dependencies]
python = "^3.9"
top = {version = "^1.0", extras = ["more"]}
old = {version = "*", python = "<3.10"}
unwanted = {version = "*", optional = true}
"""
    world.write("poetry.lock", POETRY, project=own)
    assert [wheel.name for wheel in resolve()] == ["below", "extra-thing", "top"]
    assert [wheel.name for wheel in resolve(python="3.9.1")] == ["below", "extra-thing", "old", "top"]


@pytest.mark.parametrize(
    ("poetry", "specifier"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("~=1.2", "~=1.2"),
        ("1.2.*", "==1.2.*"),
        ("1.2", "==1.2"),
        (">=3.9,<4.0", ">=3.9,<4.0"),
        (">=3.9 <4.0", ">=3.9,<4.0"),
        ("*", ""),
        ("^3.8 || ^2.7", ""),
        ("^x", ""),
    ],
)
def test_poetrys_ranges(poetry: str, specifier: str) -> None:
    assert pyproject.poetry_specifier(poetry) == specifier


def test_where_the_files_are(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("# top\n")
    (tmp_path / "uv.lock").write_text("# lock\n")
    (tmp_path / "poetry.lock").write_text("# other\n")
    sub = tmp_path / "packages" / "model"
    sub.mkdir(parents=True)
    (sub / "pyproject.toml").write_text("# sub\n")
    found = pyproject.find_files(tmp_path, name="packages/model")
    assert (found.pyproject, found.lock_name, found.lock, found.folder, found.others) == (
        "# sub\n", "uv.lock", "# lock\n", ".", ("poetry.lock",)
    )  # fmt: skip
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert pyproject.find_files(moved, name="packages/model").dumps() == found.dumps()
    with pytest.raises(ConfigError, match=r'invalid build\.python_project "no/pyproject\.toml": file does not exist'):
        pyproject.find_files(moved, name="no/pyproject.toml")


def test_a_lock_file_of_another_project_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text("# not ours\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/pyproject.toml").write_text("")
    assert pyproject.find_files(tmp_path / "project", name="pyproject.toml").lock_name == ""


def test_forks_of_one_name(world: World) -> None:
    def package(version: str, marker: str) -> graph.Package:
        return graph.Package(name="a", version=version, markers=(marker,))

    def root(version: str, marker: str) -> graph.Dependency:
        return graph.Dependency(name="a", version=version, marker=marker)

    split = ("python_full_version < '3.12'", "python_full_version >= '3.12'")
    both = graph.Graph(
        name="uv.lock",
        renew="uv lock",
        packages=(package("1", split[0]), package("2", split[1])),
        roots=(root("1", split[0]), root("2", split[1])),
    )

    def chosen(python: str, **changes: Any) -> list[str]:
        variables = graph.environment(python_version=python, platform="linux/arm64")
        return [found.version for found in graph.select(dataclasses.replace(both, **changes), variables=variables)]

    assert (chosen("3.11.2"), chosen("3.13.0")) == (["1"], ["2"])
    loose = (graph.Dependency(name="a"),)
    assert (chosen("3.11.2", roots=loose), chosen("3.13.0", roots=loose)) == (["1"], ["2"])
    with pytest.raises(ResolveError, match="does not answer"):
        chosen("3.11.2", roots=(*loose, root("2", "")))


def picked(name: str, text: str, *, asked: str = "a") -> list[str]:
    files = pyproject.Files(pyproject=f'[project]\nname = "m"\ndependencies = ["{asked}"]\n', lock_name=name, lock=text)
    variables = graph.environment(python_version="3.11.2", platform="linux/amd64")
    return [found.name for found in graph.select(foreign.read(files, folder=Path("/nowhere")), variables=variables)]


def test_groups_and_extras_of_a_pylock() -> None:
    text = """
lock-version = "1.0"
default-groups = ["main"]
packages = [
    { name = "a", version = "1", marker = "'main' in dependency_groups" },
    { name = "b", version = "1", marker = "'dev' in dependency_groups or 'gpu' in extras" },
]
"""
    assert picked("pylock.toml", text) == ["a"]
    with pytest.raises(ResolveError, match="not of a form"):
        picked("pylock.toml", text.replace('"1.0"', '"2.0"'))


def test_extras_are_known_however_they_are_written() -> None:
    text = """
[[package]]
name = "a"
version = "1"
extras = { foo-bar = ["b"] }
[[package]]
name = "b"
version = "1"
"""
    assert picked("poetry.lock", text, asked="a[Foo_Bar]") == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("uv.lock", 'version = 1\nrequires-python = ">=3.12"', "is for Python >=3.12, and the image has 3.11.2"),
        ("poetry.lock", '[metadata]\npython-versions = "^3.12"', "is for Python >=3.12,<4, and"),
        ("pdm.lock", '[[metadata.targets]]\nrequires_python = "==3.12.*"', r"is for Python ==3\.12\.\*, and"),
        ("pylock.toml", 'lock-version = "1.0"\nrequires-python = "==3.12.*"', r"is for Python ==3\.12\.\*, and"),
        ("uv.lock", "version = 1\nsupported-markers = [\"sys_platform == 'darwin'\"]", "other machines than Linux on"),
        ("pylock.toml", "lock-version = '1.0'\nenvironments = [\"os_name == 'nt'\"]", "other machines than Linux on"),
    ],
)
def test_a_lock_is_not_used_for_what_it_is_not_for(name: str, text: str, problem: str) -> None:
    with pytest.raises(ResolveError, match=problem):
        picked(name, text)
