"""Resolution by the real uv, against small indexes on disk or on loopback, and once against the user's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_index import Index, Served, Told, make_wheel

from builder.errors import ConfigError, ResolveError
from builder.plan import Remote, Wheel
from builder.resolve.python import resolve_python
from builder.resolve.requirements import Requirements
from builder.resolve.torch import split
from builder.store import Store

Resolve = Callable[..., tuple[tuple[Wheel, ...], tuple[Remote, ...]]]


@pytest.fixture
def resolve(tmp_path: Path, store: Store, bare_env: dict[str, str], index: Index, told: Told) -> Resolve:
    project = tmp_path / "project"
    project.mkdir()
    env = {**bare_env, "PIP_INDEX_URL": index.url}

    def call(text: str, *, extra: dict[str, str] | None = None, **values: Any) -> Any:
        options: dict[str, Any] = {
            "project": project,
            "python_version": "3.11.2",
            "platform": "linux/amd64",
            "glibc": "2.36",
            "store": store,
            "env": {**env, **(extra or {})},
            "report": told,
            **values,
        }
        return resolve_python(text, **options)[:2]

    return call


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(found: tuple[tuple[Wheel, ...], tuple[Remote, ...]]) -> list[str]:
    return [wheel.filename for wheel in found[0]]


def test_wheels_and_remotes_are_exact(resolve: Resolve, index: Index) -> None:
    one = index.add("One_Thing", requires=("two>=1", 'never; sys_platform == "win32"'))
    index.add("two", "0.9")
    two = index.add("two", "1.5")
    wheels, remotes = resolve("one.thing\n")
    assert wheels == (
        Wheel(name="one-thing", version="1.0", filename=one.name, size=one.stat().st_size, sha256=sha256(one)),
        Wheel(name="two", version="1.5", filename=two.name, size=two.stat().st_size, sha256=sha256(two)),
    )
    assert [(remote.sha256, remote.size, remote.name, remote.urls) for remote in remotes] == [
        (wheel.sha256, wheel.size, wheel.filename, ((index.files / wheel.filename).as_uri(),)) for wheel in wheels
    ]


def test_nothing_asked_for_starts_nothing(resolve: Resolve) -> None:
    assert resolve("# nothing\ncog\n", extra={"PIP_INDEX_URL": "http://127.0.0.1:9/"}) == ((), ())


@pytest.mark.parametrize(
    ("platform", "python", "glibc", "expected"),
    [
        ("linux/amd64", "3.11.2", "2.36", "multi-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("linux/amd64", "3.11.2", "2.27", "multi-1.0-cp311-cp311-manylinux2014_x86_64.whl"),
        ("linux/amd64", "3.13.5", "2.41", "multi-1.0-cp39-abi3-manylinux_2_17_x86_64.whl"),
        ("linux/arm64", "3.11.2", "2.36", "multi-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"),
        ("linux/arm64", "3.13.5", "2.41", "multi-1.0-py3-none-any.whl"),
    ],
)
def test_the_best_wheel_for_the_image(
    resolve: Resolve, index: Index, platform: str, python: str, glibc: str, expected: str
) -> None:
    for tag in (
        "py3-none-any",
        "cp311-cp311-manylinux2014_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp311-cp311-win_amd64",
        "cp313-cp313t-manylinux_2_28_x86_64",
        "cp39-abi3-manylinux_2_17_x86_64",
    ):
        index.add("multi", tag=tag)
    assert names(resolve("multi", platform=platform, python_version=python, glibc=glibc)) == [expected]


def test_python_patch_release_counts(resolve: Resolve, index: Index) -> None:
    index.add("thing", requires=('late; python_full_version >= "3.11.5"',))
    index.add("late")
    assert len(names(resolve("thing", python_version="3.11.2"))) == 1
    assert len(names(resolve("thing", python_version="3.11.9"))) == 2


def test_find_links_satisfy_a_version_with_a_local_part(resolve: Resolve, index: Index, tmp_path: Path) -> None:
    index.add("torch", "2.13.0")
    links = tmp_path / "links"
    links.mkdir()
    mine = make_wheel(links, "torch", "2.13.0+cpu")
    wheels, remotes = resolve("torch==2.13.0", extra={"PIP_FIND_LINKS": os.fspath(links)})
    assert [(wheel.version, wheel.sha256) for wheel in wheels] == [("2.13.0+cpu", sha256(mine))]
    assert remotes[0].urls == (mine.as_uri().replace("%2B", "+"),)


def test_indexes_of_pip_are_equal(resolve: Resolve, index: Index, second_index: Index) -> None:
    index.add("thing", "1.0")
    second_index.add("thing", "2.0")
    found = resolve("thing", extra={"PIP_EXTRA_INDEX_URL": second_index.url})
    assert [wheel.version for wheel in found[0]] == ["2.0"]


def test_uvs_own_index_wins(resolve: Resolve, index: Index, second_index: Index) -> None:
    index.add("thing", "1.0")
    second_index.add("thing", "2.0")
    found = resolve("thing", extra={"UV_DEFAULT_INDEX": second_index.url})
    assert [wheel.version for wheel in found[0]] == ["2.0"]


def test_settings_of_folders_above_do_not_matter(resolve: Resolve, index: Index, tmp_path: Path) -> None:
    index.add("thing")
    for folder in (tmp_path, tmp_path / "project", tmp_path / "store"):
        (folder / "uv.toml").write_text("no-index = true\n")
        (folder / "pyproject.toml").write_text('[tool.uv]\nno-index = true\n[project]\nname = "x"\nversion = "1"\n')
    assert len(names(resolve("thing", extra={"UV_NO_CONFIG": "false"}))) == 1


def test_versions_are_kept_where_they_still_fit(resolve: Resolve, index: Index) -> None:
    for version in ("1.0", "1.1", "2.0"):
        index.add("thing", version)
    assert [w.version for w in resolve("thing", keep={"thing": "1.1", "gone": "3"})[0]] == ["1.1"]
    assert [w.version for w in resolve("thing>1.1", keep={"thing": "1.1"})[0]] == ["2.0"]


def test_prereleases_when_asked_for(resolve: Resolve, index: Index) -> None:
    index.add("thing", "1.0")
    index.add("thing", "2.0rc1")
    assert [w.version for w in resolve("thing")[0]] == ["1.0"]
    assert [w.version for w in resolve("--pre\nthing")[0]] == ["2.0rc1"]


def test_a_local_wheel_of_the_project(resolve: Resolve, tmp_path: Path, index: Index) -> None:
    index.add("two")
    mine = make_wheel(tmp_path / "project", "mine", requires=("two",))
    wheels, remotes = resolve(f"./{mine.name}")
    assert [wheel.name for wheel in wheels] == ["mine", "two"]
    assert remotes[0].urls == (mine.as_uri(),)
    assert wheels[0].sha256 == sha256(mine)


def test_hashes_in_the_requirements_are_held_to(resolve: Resolve, index: Index) -> None:
    good = sha256(index.add("thing"))
    assert len(names(resolve(f"thing==1.0 --hash=sha256:{good}"))) == 1
    with pytest.raises(ResolveError, match="not the file that the requirements name by hash") as caught:
        resolve(f"thing==1.0 --hash=sha256:{'0' * 64}")
    assert good in (caught.value.details or "")


def test_hashes_of_what_would_be_built_are_held_to(
    resolve: Resolve, index: Index, serve: Callable[..., Served]
) -> None:
    index.add_sdist("thing")
    url = f"http://{serve(index.root).host}/files/thing-1.0.tar.gz"
    for text in ("thing==1.0", f"thing @ {url}"):
        with pytest.raises(ResolveError, match="not the file that the requirements name by hash") as caught:
            resolve(f"{text} --hash=sha256:{'0' * 64}", builder=lambda: pytest.fail("it was to be built"))
        assert "thing-1.0.tar.gz has sha256" in (caught.value.details or "")


def test_hashes_may_be_required_of_all(resolve: Resolve, index: Index) -> None:
    good = sha256(index.add("thing", requires=("two",)))
    index.add("two")
    with pytest.raises(ResolveError) as caught:
        resolve(f"--require-hashes\nthing --hash=sha256:{good.upper()}")
    assert (
        caught.value.details
        == "two-1.0-py3-none-any.whl has no `--hash`, and the requirements ask for one of each package"
    )


def test_a_local_file_that_is_not_what_its_index_says(resolve: Resolve, index: Index) -> None:
    index.add("thing", listed_hash="1" * 64)
    with pytest.raises(ResolveError) as caught:
        resolve("thing")
    assert "1" * 64 in str(caught.value)


def test_sizes_come_from_the_server(resolve: Resolve, index: Index, serve: Callable[..., Served]) -> None:
    path = index.add("thing")
    server = serve(index.root)
    extra = {"PIP_INDEX_URL": f"http://{server.host}/simple"}
    wheels, remotes = resolve("thing", extra=extra)
    assert wheels[0].size == path.stat().st_size
    assert remotes[0].urls == (f"http://{server.host}/files/{path.name}",)
    heads = [ask for ask in server.asked if ask[0] == "HEAD" and ask[1].endswith(".whl")]
    assert heads
    before = len(server.asked)
    assert resolve("thing", extra=extra)[0] == wheels
    assert not [ask for ask in server.asked[before:] if ask == heads[-1]], "a size once known is not asked for again"


def test_an_index_without_hashes(resolve: Resolve, index: Index, serve: Callable[..., Served]) -> None:
    path = index.add("thing", with_hash=False)
    wheels, _ = resolve("thing", extra={"PIP_INDEX_URL": f"http://{serve(index.root).host}/simple"})
    assert (wheels[0].sha256, wheels[0].size) == (sha256(path), path.stat().st_size)


def test_credentials_are_used_and_never_kept(resolve: Resolve, index: Index, serve: Callable[..., Served]) -> None:
    path = index.add("thing")
    server = serve(index.root, "me:s%cret")
    _, remotes = resolve("thing", extra={"PIP_INDEX_URL": f"http://me:s%25cret@{server.host}/simple"})
    assert remotes[0].urls == (f"http://{server.host}/files/{path.name}",)
    index.add("other")
    with pytest.raises(ResolveError, match="refused access"):
        resolve("other", extra={"PIP_INDEX_URL": f"http://me:wrong@{server.host}/simple"})


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ("nothing-like-this", "no package index that is set has `nothing-like-this`"),
        ("thing==9.9", "the index has no version `thing==9.9`"),
        ("thing>5", "the index has no version `thing>5`"),
        ("onlysource", "`onlysource==1.0` has no wheel for Python 3.11.2 on linux/amd64, glibc 2.36"),
        ("onlysource==1.0", "`onlysource==1.0` has no wheel for Python 3.11.2 on linux/amd64, glibc 2.36"),
        ("onlywindows", "`onlywindows==1.0` has no wheel for Python 3.11.2 on linux/amd64, glibc 2.36"),
        ("marked", "`onlywindows==1.0` has no wheel for Python 3.11.2 on linux/amd64, glibc 2.36"),
        ("needy\nthing==2.0", "the requirements cannot be met together for Python 3.11.2 on linux/amd64, glibc 2.36"),
        ("orphan", "no package index that is set has `nothing-like-this`"),
        ("thing==", "the requirements are malformed"),
        ("git+file:///nowhere/x", "`git+file:///nowhere/x` would have to be built, and cannot be here"),
    ],
)
def test_what_cannot_be_had(resolve: Resolve, index: Index, text: str, brief: str) -> None:
    index.add("thing", "1.0")
    index.add("marked", requires=("onlywindows==1.0; python_full_version < '3.15' and sys_platform == 'linux'",))
    index.add("thing", "2.0")
    index.add("needy", requires=("thing<2",))
    index.add("orphan", requires=("nothing-like-this",))
    index.add_sdist("onlysource")
    index.add("onlywindows", tag="cp311-cp311-win_amd64")
    with pytest.raises((ResolveError, ConfigError)) as caught:
        resolve(text)
    assert caught.value.brief == brief
    assert caught.value.hint
    assert "uv pip compile" not in str(caught.value)
    if brief.startswith("the requirements cannot be met"):
        assert "thing<2" in (caught.value.details or "")


def test_no_network(resolve: Resolve) -> None:
    extra = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(ResolveError, match="the package index could not be reached") as caught:
        resolve("thing", extra=extra)
    assert "complete lock" in (caught.value.hint or "")
    with pytest.raises(ResolveError, match="without a network"):
        resolve("thing", extra={**extra, "UV_OFFLINE": "1"})


@pytest.mark.parametrize(
    ("platform", "glibc"),
    [("darwin/arm64", "2.36"), ("linux/riscv64", "2.36"), ("linux/amd64", "2.12"), ("linux/amd64", "")],
)
def test_platforms_that_have_no_wheels(resolve: Resolve, platform: str, glibc: str) -> None:
    with pytest.raises(ResolveError):
        resolve("thing", platform=platform, glibc=glibc)


@pytest.mark.network
@pytest.mark.parametrize(("python", "glibc"), [("3.11.2", "2.36"), ("3.13.5", "2.41")])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_the_users_own_index(tmp_path: Path, store: Store, told: Told, python: str, glibc: str, platform: str) -> None:
    wheels, remotes, _ = resolve_python(
        "pillow\nnumpy\nonnxruntime\n",
        project=tmp_path,
        python_version=python,
        platform=platform,
        glibc=glibc,
        store=store,
        env=dict(os.environ),
        report=told,
    )
    machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[platform]
    tag = "cp" + "".join(python.split(".")[:2])
    found = {wheel.name: wheel for wheel in wheels}
    assert {"pillow", "numpy", "onnxruntime"} <= set(found)
    for name in ("pillow", "numpy", "onnxruntime"):
        assert tag in found[name].filename
        assert machine in found[name].filename
        assert found[name].size > 1_000_000
    assert [remote.sha256 for remote in remotes] == [wheel.sha256 for wheel in wheels]


def test_hashes_choose_among_files_of_one_version(resolve: Resolve, index: Index) -> None:
    plain = index.add("thing")
    index.add("thing", tag="cp311-cp311-manylinux_2_17_x86_64")
    assert names(resolve(f"thing==1.0 --hash=sha256:{sha256(plain)}")) == [plain.name]


def test_the_sdk_is_left_out_whoever_asks_for_it(resolve: Resolve, index: Index, told: Told) -> None:
    index.add("thing", requires=("cog",))
    index.add("cog")
    assert names(resolve("thing")) == ["thing-1.0-py3-none-any.whl"]
    assert told.warnings == ["`cog`, which another package asks for, is left out: the image has its own SDK"]


def test_extra_indexes_of_the_file_are_equal_as_with_pip(resolve: Resolve, index: Index, second_index: Index) -> None:
    index.add("thing", "2.0")
    second_index.add("thing", "1.0")
    text = f"--extra-index-url {second_index.url}\nthing\n"
    assert [wheel.version for wheel in resolve(text)[0]] == ["2.0"]
    assert [wheel.version for wheel in resolve(text, extra={"UV_INDEX_STRATEGY": "first-index"})[0]] == ["1.0"]


def test_credentials_of_the_file_reach_the_index_and_not_the_lock(
    resolve: Resolve, second_index: Index, serve: Callable[..., Served]
) -> None:
    second_index.add("thing", with_hash=False)
    served = serve(second_index.root, user="me:s@crt")
    text = f"--index-url http://me:${{SECRET}}@{served.host}/simple\nthing\n"
    wheels, remotes = resolve(text, extra={"SECRET": "s%40crt"})
    assert [wheel.name for wheel in wheels] == ["thing"]
    assert remotes[0].urls == (f"http://{served.host}/files/thing-1.0-py3-none-any.whl",)


@pytest.fixture
def torch(second_index: Index) -> Index:
    """An index with PyTorch's builds below `cpu`, and something else that nobody should take from there."""
    cpu = Index(second_index.root / "cpu-files")
    for name in ("torch", "torchvision"):
        cpu.add(name, "2.3.1+cpu")
    cpu.add("other", "9.9")
    (second_index.root / "whl").mkdir()
    (second_index.root / "whl" / "cpu").symlink_to(cpu.root / "simple")
    (second_index.root / "whl" / "files").symlink_to(cpu.files)
    return second_index


def versions(found: tuple[tuple[Wheel, ...], tuple[Remote, ...]]) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in found[0]}


def test_pytorch_comes_from_its_own_index(
    resolve: Resolve, index: Index, torch: Index, serve: Callable[..., Served]
) -> None:
    index.add("torch", "2.3.1")
    index.add("other", "1.0")
    index.add("needs-torch", requires=("torch>=2",))
    where = {"COGSMITH_TORCH_INDEX": f"http://{serve(torch.root).host}/whl/"}
    text = "other\ntorch==2.3.1\ntorchvision\nneeds-torch\n"
    expected = {"needs-torch": "1.0", "other": "1.0", "torch": "2.3.1+cpu", "torchvision": "2.3.1+cpu"}
    assert versions(resolve(text, extra=where)) == expected
    assert versions(resolve("torch==2.3.1+cpu", extra=where, accelerator="cu126")) == {"torch": "2.3.1+cpu"}


def test_pytorch_of_the_users_own_settings_wins(resolve: Resolve, index: Index) -> None:
    index.add("torch", "2.3.1")
    assert versions(resolve("torch==2.3.1")) == {"torch": "2.3.1"}
    unreachable = {"COGSMITH_TORCH_INDEX": "http://127.0.0.1:9/whl"}
    assert versions(resolve("torch==2.3.1", extra={"COGSMITH_TORCH_INDEX": "off"})) == {"torch": "2.3.1"}
    assert versions(resolve(f"--index-url {index.url}\ntorch==2.3.1", extra=unreachable)) == {"torch": "2.3.1"}
    assert versions(resolve("torch==2.3.1", extra=unreachable, accelerator="")) == {"torch": "2.3.1"}
    named = f"torch==2.3.1 --hash=sha256:{sha256(next(index.files.glob('torch-*')))}"
    assert versions(resolve(named, extra=unreachable)) == {"torch": "2.3.1"}


def test_without_any_setting_uv_knows_where_pytorch_is(told: Told, tmp_path: Path) -> None:
    # What uv is told; its own index of PyTorch is on no machine's loopback.
    asked = Requirements(lines=("numpy", "torch==2.3.1"))

    def told_uv(accelerator: str = "cpu", **env: str) -> tuple[str, ...]:
        bare = {"HOME": os.fspath(tmp_path), "PIP_CONFIG_FILE": os.devnull, "XDG_CONFIG_DIRS": os.fspath(tmp_path)}
        lines, only_from, more = split(asked, env={**bare, **env}, accelerator=accelerator, report=told)
        assert (lines, only_from) == (asked.lines, None)
        return more

    assert told_uv() == ("--torch-backend", "cpu")
    assert told_uv("cu126") == ("--torch-backend", "cu126")
    assert told_uv("") == ()
    assert told_uv(COGSMITH_TORCH_INDEX="off") == ()
    assert told_uv(UV_TORCH_BACKEND="cu121") == ()
    assert told_uv(PIP_EXTRA_INDEX_URL="https://a.invalid/simple") == ()
    settings = tmp_path / "uv.toml"
    settings.write_text('[pip]\ntorch-backend = "cu121"\n')
    assert told_uv(UV_CONFIG_FILE=os.fspath(settings)) == ()
