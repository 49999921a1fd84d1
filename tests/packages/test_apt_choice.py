"""Which packages are chosen: a real apt, over small archives that were verified."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.config import packages
from builder.errors import ConfigError, ResolveError
from builder.lock import DebianBase
from builder.plan import Deb, Remote
from builder.resolve.apt import choose, stays
from builder.resolve.apt.lists import list_name
from builder.store import Store

from .conftest import FilesImage, HostImage, Lines, Mirror, base_of

Host = Callable[..., HostImage]


class Case:
    """One project on one mirror; what is chosen, as `name version`."""

    def __init__(self, mirror: Mirror, store: Store, host: Host) -> None:
        self.mirror, self.store, self.host, self.report = mirror, store, host, Lines()
        self.debs: tuple[Deb, ...] = ()
        self.remotes: tuple[Remote, ...] = ()

    def choose(self, *lines: str, base: DebianBase | None = None, moving: tuple[str, ...] = (), **installed: str):
        archives = self.mirror.archives(self.store)
        image = self.host(**installed)
        self.debs, self.remotes = choose(
            lines,
            base=base or base_of(installed),
            image=lambda: image,
            archives=archives,
            keep=stays(self.debs, moving=moving, archives=archives),
            kept_remotes=self.remotes,
            store=self.store,
            report=self.report,
        )
        return [f"{deb.package} {deb.version}" for deb in self.debs]


@pytest.fixture
def case(mirror: Mirror, store: Store, host: Host) -> Case:
    return Case(mirror, store, host)


def test_what_is_needed_and_recommended_and_not_there(case: Case) -> None:
    case.mirror.add("tool", version="1:2.0", Depends="libtool1 (>= 1), there", Recommends="nice", Suggests="other")
    for name in ("libtool1", "nice", "other", "there", "unrelated"):
        case.mirror.add(name)
    case.mirror.sign()
    assert case.choose("tool", there="1.0") == ["libtool1 1.0", "nice 1.0", "tool 1:2.0"]
    tool = case.debs[-1]
    assert tool.filename == "pool/tool_1%3a2.0_amd64.deb"
    (remote,) = [remote for remote in case.remotes if remote.sha256 == tool.sha256]
    assert remote.urls == (f"{case.mirror.url}/{tool.filename}",)
    assert remote.size == (case.mirror.folder / tool.filename).stat().st_size
    assert case.choose("--no-install-recommends tool", there="1.0") == ["libtool1 1.0", "tool 1:2.0"]


def test_all_in_the_base_and_nothing_asked_for(case: Case) -> None:
    case.mirror.add("there")
    case.mirror.sign()
    assert case.choose("there", there="1.0") == []
    assert case.choose() == []


def test_a_dependency_on_a_newer_package_of_the_base_moves_it(case: Case) -> None:
    case.mirror.add("libc6", version="2.0-2")
    case.mirror.add("libc6-dev", version="2.0-2", Depends="libc6 (= 2.0-2)")
    case.mirror.sign()
    assert case.choose("libc6-dev", libc6="2.0-1") == ["libc6 2.0-2", "libc6-dev 2.0-2"]


def test_versions_and_suites(case: Case) -> None:
    case.mirror.add("tool", version="1.0")
    case.mirror.add("tool", version="2.0", suite="bookworm-updates")
    case.mirror.add("tool", version="1.5", suite="bookworm-security")
    case.mirror.sign()
    assert case.choose("tool") == ["tool 2.0"]
    case.debs = ()
    assert case.choose("tool=1.0") == ["tool 1.0"]
    case.debs = ()
    assert case.choose("tool=1.5*") == ["tool 1.5"]
    case.debs = ()
    assert case.choose("tool/bookworm-security") == ["tool 1.5"]
    case.debs = ()
    assert case.choose("tool:amd64") == ["tool 2.0"]
    with pytest.raises(ResolveError, match=r"`tool` has no version 3\.0") as caught:
        case.choose("tool=3.0")
    assert caught.value.details == "there is: 2.0, 1.5, 1.0"
    with pytest.raises(ResolveError, match="no packages of the architecture `i386`"):
        case.choose("tool:i386")


def test_a_new_name_that_provides_the_old(case: Case) -> None:
    case.mirror.add("libglib2.0-0t64", Provides="libglib2.0-0 (= 1.0)")
    case.mirror.sign()
    assert case.choose("libglib2.0-0") == ["libglib2.0-0t64 1.0"]


def test_one_that_several_provide(case: Case) -> None:
    case.mirror.add("libasound2t64", Provides="libasound2")
    case.mirror.add("liboss4", Provides="libasound2")
    case.mirror.sign()
    with pytest.raises(ResolveError, match="`libasound2` is provided by several packages") as caught:
        case.choose("libasound2")
    assert caught.value.hint == "name one of them in `build.system_packages`: `libasound2t64`"


def test_unknown_names_are_said_before_any_image_is_opened(case: Case, store: Store) -> None:
    for name in ("libgl1", "ffmpeg", "libsndfile1", "build-essential"):
        case.mirror.add(name)
    case.mirror.sign()

    def nobody() -> FilesImage:
        raise AssertionError

    with pytest.raises(
        ResolveError, match=r"4 packages of `build\.system_packages` cannot be had in Debian bookworm"
    ) as e:
        choose(
            ["libgl1-mesa-glx", "ffmpg", "sndfile1", "xyzzyplugh", "ffmpeg"],
            base=base_of({}), image=nobody, archives=case.mirror.archives(store), keep={}, store=store, report=Lines(),
        )  # fmt: skip
    assert (e.value.details or "").splitlines() == [
        "`ffmpg`: did you mean `ffmpeg`?",
        "`libgl1-mesa-glx` is gone: `libgl1` takes its place",
        "`sndfile1`: did you mean `libsndfile1`?",
        "`xyzzyplugh`",
    ]


def test_what_does_not_go_together(case: Case) -> None:
    case.mirror.add("one", Conflicts="two")
    case.mirror.add("two")
    case.mirror.add("three", Depends="nowhere")
    case.mirror.sign()
    with pytest.raises(ResolveError, match="cannot be installed together") as caught:
        case.choose("one", "two")
    assert "Conflicts: two" in (caught.value.details or "")
    with pytest.raises(ResolveError, match="cannot be installed together") as caught:
        case.choose("three")
    assert "Depends: nowhere" in (caught.value.details or "")


def test_what_is_removed_of_the_base_is_said(case: Case) -> None:
    case.mirror.add("new", Conflicts="old")
    case.mirror.sign()
    assert case.choose("new", old="1.0") == ["new 1.0"]
    assert case.report.lines == ["apt removes `old` of the base for `build.system_packages`"]


def test_locked_versions_stay_until_they_are_moved(case: Case) -> None:
    def archive(version: str) -> None:
        case.mirror.add("ffmpeg", version=version, Depends=f"libavutil (= {version})")
        case.mirror.add("libavutil", version=version, Source="ffmpeg")
        case.mirror.add("git", version=version)
        case.mirror.add("new", version=version)
        case.mirror.sign()

    archive("1.0")
    first = case.choose("ffmpeg", "git")
    locked = case.debs
    assert not any(case.store.has_file(deb.sha256) for deb in locked)  # to choose, nothing is downloaded
    for deb in locked:
        case.store.add_file(case.mirror.folder / deb.filename)
    case.mirror.forget()
    archive("2.0")
    assert case.choose("ffmpeg", "git", "new") == [*first, "new 2.0"]
    assert set(locked) < {*case.debs}
    assert {remote.sha256 for remote in case.remotes} == {deb.sha256 for deb in case.debs}
    assert case.choose("ffmpeg", "git", "new", moving=("ffmpeg",)) == [
        "ffmpeg 2.0", "git 1.0", "libavutil 2.0", "new 2.0",
    ]  # fmt: skip
    assert case.report.lines == []


def test_locked_versions_that_no_longer_fit_move_aloud(case: Case) -> None:
    case.mirror.add("tool", version="1.0")
    case.mirror.sign()
    case.choose("tool")
    case.mirror.add("plugin", version="2.0", Depends="tool (>= 2)")
    case.mirror.add("tool", version="2.0")
    case.mirror.sign()
    assert case.choose("tool", "plugin") == ["plugin 2.0", "tool 2.0"]
    assert case.report.lines == ["the system packages that were locked cannot all stay: they are chosen anew"]


def test_an_image_that_lies_is_not_believed(case: Case, store: Store) -> None:
    class Liar(FilesImage):
        def ask(self, argv, /, *, env, folder):
            return 0, "Inst tool (6.6.6 Debian:12/bookworm [amd64])\n", ""

    case.mirror.add("tool")
    case.mirror.sign()
    with pytest.raises(ResolveError, match=r"chose `tool` 6\.6\.6, which is in no index"):
        choose(
            ["tool"], base=base_of({}), image=lambda: Liar({}), archives=case.mirror.archives(store), keep={},
            store=store, report=Lines(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--reinstall", "`--no-install-recommends` alone is understood"),
        ("./local.deb", "a package file is installed by a command"),
        ("https://example.org/x.deb", "a package file"),
        ("vim-", "a minus at the end would remove it"),
        ("LibGL1", "no capital letters"),
        ("python3*", "patterns are not"),
        ("$(id)", "`$(id)`"),
        ("x", "`x`"),
    ],
)
def test_lines_that_are_no_names(line: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        packages.read(["git", line])
    assert why in (caught.value.details or "")


def test_lines_as_a_shell_would_split_them() -> None:
    request = packages.read(["git  ffmpeg", "-y", "libx=1.0-1+b1", "git", "g++", "lib/sid", "a1:arm64"])
    assert [item.text for item in request.packages] == ["a1:arm64", "ffmpeg", "g++", "git", "lib/sid", "libx=1.0-1+b1"]
    assert (request.packages[5].name, request.packages[5].version) == ("libx", "1.0-1+b1")
    assert request.recommends is None


def test_names_of_lists() -> None:
    assert list_name("http://a:b@deb.example/debian/dists/x/InRelease") == "deb.example_debian_dists_x_InRelease"
    assert list_name("http://h:8/a_b/c~d/Packages") == "h:8_a%5fb_c%7ed_Packages"
