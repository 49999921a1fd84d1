"""A folder that builds the image with `buildah bud`, `docker build` or Kaniko, and no Cogsmith at the other end.

Everything in it is locked: the base by its digest or as the very layer that Cogsmith makes, wheels and Debian packages
by sha256.  The image holds the same files in the same places; not under the same digest, for those tools write their
own layers.  Nothing that Kaniko ignores silently is used: no here-documents, no `RUN --mount` but for secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from builder.config import Config
from builder.emit.containerfile import commands
from builder.emit.files import Emitted, sums, text
from builder.emit.words import (
    LOCAL,
    continued,
    environment,
    escaped,
    image_reference,
    is_plain,
    json_words,
    public_url,
    templates,
)
from builder.errors import ConfigError
from builder.frozen import frozen
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import Deb, Entry, FilesLayer, ImageConfig, Plan, RuntimeLayer, Wheel

DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-venv", "tini")
"""What a base of the user's own choice must have in place of ours."""


@frozen
class Packed:
    """A layer that is handed over as the archive that it is: `path` is its blob here."""

    name: str
    path: Path
    sha256: str


def context(
    config: Config,
    lock: Lock,
    *,
    plan: Plan,
    files: Mapping[str, Path],
    packed: Sequence[Packed] = (),
    base: str | None = None,
) -> list[Emitted]:
    """The files of the folder.

    `plan` is what `lock` and the project compile to; `files` has, by sha256, those of the project and the runtime, and
    the wheels that no public address has.  `packed` are the layers below the Python packages that are not of a base
    image, the base first; with `base`, an image is taken instead of ours.
    """
    urls = {remote.sha256: remote.urls for remote in lock.remotes}
    own = _own_wheels((*lock.wheels, *lock.runtime_wheels), urls=urls, files=files)
    folder = [
        text("requirements.txt", _requirements(lock.wheels, urls=urls)),
        text("server-requirements.txt", _requirements(lock.runtime_wheels, urls=urls)),
        *own,
        *_project(plan, files=files),
        *(Emitted(path=f"layers/{one.name}", source=one.path, sha256=one.sha256) for one in packed),
    ]
    if lock.system_packages:
        folder.append(text("debs.txt", _debs(lock.system_packages, urls=urls)))
    odd = odd_labels(plan.config)
    folder += [text(f"labels/{name}", value) for name, value in odd]
    names = {file.path.partition("/")[0] for file in folder}
    render = templates().get_template
    reference = _base(lock, given=base)
    values = {
        "platform": lock.platform,
        "base": reference,
        "layers": [one.name for one in packed],
        "debian_packages": [*DEBIAN_PACKAGES] if base and isinstance(lock.base, DebianBase) else [],
        "debs": bool(lock.system_packages),
        "python": lock.interpreter.path,
        "minor": lock.interpreter.minor,
        "wheels": bool(lock.wheels),
        "names": names,
        "commands": commands(config),
        "secrets": sorted({mount.id for item in config.commands for mount in item.mounts}),
        "env": environment(plan.config.env),
        "labels": _labels(plan.config.labels),
        "entrypoint": json_words(plan.config.entrypoint),
        "command": json_words(plan.config.cmd),
        "user": plan.config.user,
        "port": plan.config.exposed_ports[0].partition("/")[0],
        "version": lock.runtime_version,
        "plan": plan.id,
    }
    folder += [
        text("Containerfile", render("context/containerfile.j2").render(values)),
        text(
            "Containerfile.kaniko",
            render("context/containerfile.j2").render(
                values | {"labels": _labels(label for label in plan.config.labels if label not in odd)}
            ),
        ),
        text("README.md", render("context/readme.j2").render(values)),
        text(".dockerignore", ".dockerignore\nREADME.md\nSHA256SUMS\nlabels\n"),
    ]
    folder.append(sums(folder))
    return sorted(folder, key=lambda file: file.path.encode())


def odd_labels(config: ImageConfig) -> list[tuple[str, str]]:
    """The labels that Kaniko must be told by its own flag (`is_plain`): in `labels/`, a file for each."""
    return [(name, value) for name, value in config.labels if not is_plain(value) and "/" not in name]


def _labels(labels: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, continued(escaped(value))) for name, value in labels]


def want_wheels(lock: Lock) -> list[Wheel]:
    """The wheels that no public address has: they must lie in the folder."""
    urls = {remote.sha256: remote.urls for remote in lock.remotes}
    return [wheel for wheel in (*lock.wheels, *lock.runtime_wheels) if not public_url(urls.get(wheel.sha256, ()))]


def _base(lock: Lock, *, given: str | None) -> str:
    """What follows `FROM`; empty for nothing."""
    if given is not None:
        return given
    if isinstance(lock.base, ImageBase):
        if lock.base.reference.startswith(LOCAL):
            raise ConfigError(
                f"the base image `{lock.base.reference}` is on this machine alone",
                hint="push it to a registry, and name it there: `--from-image REGISTRY/IMAGE@DIGEST`",
            )
        return image_reference(lock.base)
    return ""


def _requirements(wheels: Iterable[Wheel], *, urls: Mapping[str, tuple[str, ...]]) -> str:
    """A file for pip: each wheel by its address, or where it lies in this folder; always by hash."""
    lines = []
    for wheel in wheels:
        public = public_url(urls.get(wheel.sha256, ()))
        what = f"{wheel.name} @ {public}" if public else f"./wheels/{wheel.filename}"
        lines.append(f"{what} \\\n    --hash=sha256:{wheel.sha256}\n")
    return "".join(lines)


def _own_wheels(
    wheels: Iterable[Wheel], *, urls: Mapping[str, tuple[str, ...]], files: Mapping[str, Path]
) -> Iterator[Emitted]:
    found = {wheel.filename: wheel for wheel in wheels if not public_url(urls.get(wheel.sha256, ()))}
    for name, wheel in found.items():
        yield Emitted(path=f"wheels/{name}", source=files[wheel.sha256], sha256=wheel.sha256)


def _debs(debs: Iterable[Deb], *, urls: Mapping[str, tuple[str, ...]]) -> str:
    """A line for each package: its address, sha256 and a file name that follows from the package alone."""
    lines = []
    for deb in sorted(debs, key=lambda deb: (deb.package, deb.architecture)):
        public = public_url(urls.get(deb.sha256, ()))
        if not public:
            raise ConfigError(
                f"the package `{deb.package} {deb.version}` has no address that other machines can reach",
                hint="name a mirror on the network (`COGSMITH_DEBIAN_MIRROR`) and lock again",
            )
        name = f"{deb.package}_{deb.version.replace(':', '%3a')}_{deb.architecture}.deb"
        lines.append(f"{public} {deb.sha256} {name}\n")
    return "".join(lines)


def _project(plan: Plan, *, files: Mapping[str, Path]) -> Iterator[Emitted]:
    """The SDK and the server, the large files and the code of the project."""
    for layer in plan.layers:
        if isinstance(layer, RuntimeLayer):
            yield from _entries(layer.files, folder="runtime", files=files)
        elif isinstance(layer, FilesLayer):
            folder = "weights" if layer.role == "weights" else "src"
            yield from _entries(layer.entries, folder=folder, files=files)
            for made in layer.generated:
                yield Emitted(path=f"{folder}/{made.path}", data=made.text.encode(), mode=made.mode)


def _entries(entries: Iterable[Entry], *, folder: str, files: Mapping[str, Path]) -> Iterator[Emitted]:
    for entry in entries:
        path = f"{folder}/{entry.path}"
        if entry.type == "dir":
            yield Emitted(path=path, mode=entry.mode)
        elif entry.type == "symlink":
            yield Emitted(path=path, target=entry.target)
        else:
            yield Emitted(path=path, mode=entry.mode, source=files[entry.sha256], sha256=entry.sha256)
