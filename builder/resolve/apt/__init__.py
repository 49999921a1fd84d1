"""`build.system_packages`: from names to the exact packages that the image's own apt would install, each by hash.

Indexes are read and verified here; the image's apt, without network, says which packages (`Image.ask`).  What it says
is looked up in the verified indexes: nothing that comes out of an image is trusted.  Installs nothing.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from builder.config import packages
from builder.errors import ResolveError
from builder.frozen import frozen
from builder.lock import DebianBase, ImageBase
from builder.plan import Deb, Remote
from builder.report import Report
from builder.resolve.apt import names
from builder.resolve.apt.archives import Archives
from builder.resolve.apt.image import FOLDER, Image
from builder.resolve.apt.kept import Kept, kept_archive
from builder.resolve.apt.lists import options, write_lists
from builder.resolve.debian.files import deb_of, remote_of
from builder.store import Store

_INSTALL = re.compile(r"Inst (?P<name>[^\s:]+)(?::\S+)?(?: \[[^\]]*\])? \((?P<version>\S+) .*\[(?P<arch>[^\]]+)\]\)")
_OTHER_BASE = "take another base image: the apt of this one is not to be trusted"
_REMOVE = re.compile(r"Remv (?P<name>\S+)")
_ENV = {
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TZ": "UTC0",
}


@frozen
class Answer:
    """How apt ended, and what it wrote."""

    code: int
    out: str
    err: str


@frozen
class Chosen:
    """One line of what apt would do: install `name` in `version`."""

    name: str
    version: str
    architecture: str


def choose(
    lines: Sequence[str],
    *,
    base: DebianBase | ImageBase,
    image: Callable[[], Image],
    archives: Archives,
    keep: Mapping[str, Deb],
    store: Store,
    report: Report,
    kept_remotes: Sequence[Remote] = (),
) -> tuple[tuple[Deb, ...], tuple[Remote, ...]]:
    """The packages that `lines` of `build.system_packages` need and `base` lacks, and where each can be had.

    `image` opens the base: names are looked at before.  `keep` maps names to what was locked before, which stays where
    it still fits, and can be had from `kept_remotes`.  Raises `ConfigError` for a line that is none, `ResolveError` for
    what cannot be had, `SandboxError` where no program of an image can be run.
    """
    request = packages.read(lines)
    if not request.packages:
        return (), ()
    _check_names(request, base=base, image=image, archives=archives)
    chosen, kept = None, None
    if keep:
        kept = kept_archive(keep.values(), archives=archives, remotes=kept_remotes, store=store, report=report)
        answer = _simulate(request, image=image(), archives=archives, kept=kept, store=store)
        if answer.code == 0:
            chosen = _chosen(answer.out)
        else:
            report.warn("the system packages that were locked cannot all stay: they are chosen anew")
            kept = None
    if chosen is None:
        answer = _simulate(request, image=image(), archives=archives, kept=None, store=store)
        if answer.code:
            raise _failed(answer, request=request, archives=archives)
        chosen = _chosen(answer.out)
    for line in answer.out.splitlines():
        if found := _REMOVE.match(line):
            report.warn(f"apt removes `{found['name']}` of the base for `build.system_packages`")
    debs, remotes = [], []
    for item in chosen:
        package = archives.find(item.name, version=item.version, architecture=item.architecture)
        if package is None and kept is not None and item.name in keep:
            debs.append(keep[item.name])
            remotes += [remote for remote in kept_remotes if remote.sha256 == keep[item.name].sha256]
        elif package is None:
            raise ResolveError(
                f"the base image's apt chose `{item.name}` {item.version}, which is in no index that it was given",
                hint=_OTHER_BASE,
            )
        else:
            deb = deb_of(package)
            debs.append(deb)
            remotes.append(remote_of(package, deb))
    return tuple(sorted(debs, key=lambda deb: (deb.package, deb.architecture))), tuple(remotes)


def stays(locked: Sequence[Deb], *, moving: Collection[str], archives: Archives) -> dict[str, Deb]:
    """Of the packages that were locked, by name, those that stay when `moving` move: all but these and their siblings.

    Packages of one source are made to go together: `ffmpeg` does not move without `libavcodec`.
    """

    def source(name: str) -> str:
        package = archives.newest(name)
        return (package.fields.get("Source", name) if package else name).partition(" ")[0]

    sources = {source(name) for name in moving}
    return {deb.package: deb for deb in locked if deb.package not in moving and source(deb.package) not in sources}


def _check_names(
    request: packages.Request, *, base: DebianBase | ImageBase, image: Callable[[], Image], archives: Archives
) -> None:
    installed = installed_names(base, image=image)
    strange = [item for item in request.packages if item.name not in installed and not archives.has(item.name)]
    if strange:
        raise names.unknown(strange, names=archives.names, has=archives.has, where=archives.where)
    foreign = [item for item in request.packages if item.architecture not in ("", "all", *archives.architectures)]
    if foreign:
        raise ResolveError(
            f"`{foreign[0].text}`: the base has no packages of the architecture `{foreign[0].architecture}`",
            details=f"it has: {', '.join(archives.architectures)}",
            hint="an image that has it (`dpkg --add-architecture`) can be named in `build.base_image`",
        )


def installed_names(base: DebianBase | ImageBase, *, image: Callable[[], Image]) -> frozenset[str]:
    """The packages of a base."""
    if isinstance(base, DebianBase):
        return frozenset(deb.package for deb in base.debs)
    status = image().read("var/lib/dpkg/status") or b""
    return frozenset(re.findall(r"(?m)^Package: (\S+)", status.decode("utf-8", errors="replace")))


def _simulate(
    request: packages.Request, *, image: Image, archives: Archives, kept: Kept | None, store: Store
) -> Answer:
    with store.scratch() as scratch:
        folder = Path(tempfile.mkdtemp(prefix="apt-", dir=scratch))
        listed = list(archives.archives)
        preferences = image.read("etc/apt/preferences") or b""
        if kept is not None:
            listed.insert(0, kept.archive)
            preferences = kept.preferences + preferences
        (folder / "preferences").write_bytes(preferences)
        write_lists(listed, folder=folder)
        extra = [("Dir::Etc::preferences", f"{FOLDER}/preferences")]
        if request.recommends is not None:
            extra.append(("APT::Install-Recommends", str(request.recommends).lower()))
        wanted = [item.text for item in request.packages]
        argv = ["apt-get", "--simulate", "--quiet", "--yes", *options(extra), "install", "--", *wanted]
        code, out, err = image.ask(argv, env=_ENV, folder=folder)
        return Answer(code=code, out=out, err=err)


def _chosen(output: str) -> list[Chosen]:
    """The packages that a simulation says would be installed, in its order."""
    chosen = []
    for line in output.splitlines():
        if not line.startswith("Inst "):
            continue
        found = _INSTALL.match(line)
        if found is None:
            raise ResolveError("the base image's apt says what is not understood", details=line, hint=_OTHER_BASE)
        chosen.append(Chosen(name=found["name"], version=found["version"], architecture=found["arch"]))
    return chosen


def _failed(answer: Answer, *, request: packages.Request, archives: Archives) -> ResolveError:
    told = [line for line in (answer.err + answer.out).splitlines() if line.strip() and not line.startswith("WARNING")]
    words = shlex.join(item.text for item in request.packages)
    for item in request.packages:
        known = archives.versions(item.name)
        if item.version and known and f"Version '{item.version}' for '{item.name}'" in answer.err:
            return ResolveError(
                f"`{item.name}` has no version {item.version} in {archives.where}",
                details=f"there is: {', '.join(known)}",
                hint="Debian keeps the newest version of a release only: name one that there is, or none",
            )
        providers = archives.providers(item.name)
        if archives.newest(item.name) is None and len(providers) > 1:
            heirs = [name for name in names.RENAMED.get(item.name, ()) if name in providers]
            return ResolveError(
                f"`{item.name}` is provided by several packages of {archives.where}",
                details=", ".join(providers),
                hint=f"name one of them in `build.system_packages`: `{(heirs or providers)[0]}`",
            )
    if "apt-get" in answer.err and answer.code in (126, 127):
        return ResolveError("the base image has no `apt-get`", hint="choose an image that is Debian or Ubuntu")
    return ResolveError(
        "the system packages cannot be installed together",
        details="\n".join([f"apt-get install {words}", f"ended with exit code {answer.code}", *told[-30:]]),
        hint="packages of one release go together: take out what is pinned to another version, or change the base",
    )
