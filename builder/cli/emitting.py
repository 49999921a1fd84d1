"""What `emit` needs: a project's files and layers gathered, and a folder that appears whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.cli.building import open_project, refuse_nixpkgs, with_options
from builder.cli.console import Console
from builder.cli.locking import default_platform, get_lock
from builder.cli.options import BuildOptions
from builder.cli.project import Project, get_plan, make_layers, scan_files
from builder.cli.settings import Settings
from builder.emit.context import Packed, context, want_wheels
from builder.emit.files import SUMS, Emitted, is_sealed
from builder.errors import ConfigError, FetchError
from builder.frozen import frozen
from builder.lock import DebianBase, Lock
from builder.plan import DebianLayer, InterpreterLayer, Plan, Remote, title
from builder.resolve.source import is_part
from builder.store import Store


@frozen
class Gathered:
    """A project as it is handed over: `files` by sha256, on this disk."""

    project: Project
    lock: Lock
    plan: Plan
    files: Mapping[str, Path]


def gather(
    folder: Path,
    *,
    output: Path,
    options: BuildOptions,
    settings: Settings,
    store: Store,
    console: Console,
    nixpkgs: bool = False,
) -> Gathered:
    """Lock and plan of the project of `folder`; nothing is made yet.  `nixpkgs`: whoever builds has one.

    Says so if what goes to `output` will be part of the project.
    """
    settings = with_options(settings, options)
    project = open_project(folder, options=options, settings=settings, console=console)
    if not nixpkgs:
        refuse_nixpkgs(project)
    lock, _ = get_lock(
        project,
        settings=settings,
        store=store,
        platform=options.platform or default_platform(project, settings=settings, store=store),
        console=console,
        locked=options.locked,
        fresh=options.fresh,
    )
    scanned = scan_files(project, store=store)
    root, place = project.root.resolve(), output.resolve()
    if place.is_relative_to(root) and place != root and is_part(root, place.relative_to(root).as_posix()):
        console.warn(
            f"`{output}` lies in the project and will be in the next image: name a folder beside it, or in `.cog`, with"
            " `-o`; or add it to `.dockerignore`"
        )
    # Other tools unpack gzip, wherever they run.
    plain = dataclasses.replace(options, compression="gzip")
    plan = get_plan(project, lock=lock, files=scanned, settings=settings, options=plain)
    return Gathered(project=project, lock=lock, plan=plan, files=scanned.local)


def build_context(
    found: Gathered, *, base: str | None, settings: Settings, store: Store, console: Console
) -> list[Emitted]:
    """The folder of `emit containerfile`; makes the layers that are handed over, downloads wheels that must be."""
    below = [
        layer
        for layer in found.plan.layers
        if isinstance(layer, InterpreterLayer) or (isinstance(layer, DebianLayer) and base is None)
    ]
    packed = make_layers(
        dataclasses.replace(found.plan, layers=tuple(below)),
        local=found.files,
        backend_name="embedded",
        settings=settings,
        store=store,
        console=console,
        texts=[found.project.requirements],
    )
    archives = [
        Packed(
            name="debian.tar.gz" if isinstance(layer, DebianLayer) else "python.tar.gz",
            path=store.blob_path(made.digest),
            sha256=made.digest.removeprefix("sha256:"),
        )
        for layer, made in zip(below, packed, strict=True)
    ]
    for layer in below:
        console.note(f"{title(layer)}: as one archive")
    restore_wheels(found, settings=settings, store=store, console=console)
    wheels = {wheel.sha256 for wheel in want_wheels(found.lock)}
    own = _local([remote for remote in found.lock.remotes if remote.sha256 in wheels], store=store, console=console)
    missing = wheels - own.keys()
    if missing:
        names = [wheel.filename for wheel in want_wheels(found.lock) if wheel.sha256 in missing]
        raise FetchError(
            f"the wheel `{names[0]}` is on no index and not on this machine", hint="build once here, and emit then"
        )
    if base is not None and isinstance(found.lock.base, DebianBase) and found.lock.python is None:
        console.warn(
            f"`{base}` must have {found.lock.interpreter.path}: it is not checked, and what it holds is not locked"
        )
    return context(
        found.project.config,
        found.lock,
        plan=found.plan,
        files={**found.files, **own},
        packed=archives,
        base=base,
    )


def restore_wheels(found: Gathered, *, settings: Settings, store: Store, console: Console) -> None:
    """Have here every wheel that was built, for no server has it: built again by what the lock says if need be."""
    if not found.lock.built:
        return
    from builder.cli import wheelhouse

    wheelhouse.restore(
        found.lock,
        config=found.project.config,
        plan=found.plan,
        project=found.project.root,
        settings=settings,
        store=store,
        console=console,
        every=True,
        texts=[found.project.requirements],
    )


def _local(remotes: Sequence[Remote], *, store: Store, console: Console) -> dict[str, Path]:
    """The files of this machine among them, and those that were built here, verified."""
    here = {remote.sha256: store.file_path(remote.sha256) for remote in remotes if store.has_file(remote.sha256)}
    files = [remote for remote in remotes if remote.sha256 not in here and remote.urls]
    if files:
        from builder.fetch import ensure

        here.update(ensure(files, store=store, report=console))
    return here


def write_folder(files: Sequence[Emitted], *, folder: Path, epoch: int) -> None:
    """Have `folder` hold these files and nothing else, at once, all of the time `epoch` (seconds since 1970).

    It may be absent, empty, or what was emitted before and nobody changed; else a `ConfigError` names what it holds.
    """
    refuse_foreign(folder)
    place = folder.absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            fill(files, folder=draft, epoch=epoch)
            draft.chmod(0o777 & ~_umask())
            if place.exists():
                old = draft.with_name(draft.name + ".old")
                place.rename(old)
                draft.rename(place)
                shutil.rmtree(old)
            else:
                draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as problem:
        raise ConfigError(
            f"could not write `{folder}`: {(problem.strerror or str(problem)).lower()}", hint="name another with `-o`"
        ) from problem


def refuse_foreign(folder: Path) -> None:
    """`ConfigError` unless `folder` is absent, empty, or as an emission left it."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise ConfigError(f"`{folder}` is not a folder", hint="name a new one with `-o`")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    listed = _listed(folder)
    links = {name for name in there if (folder / name).is_symlink()}  # they have no sum
    own = listed.keys() | links | {SUMS} if listed else set()
    foreign = sorted((there if listed else {path.name for path in folder.iterdir()}) - own)
    changed = sorted(name for name, digest in listed.items() if name in there and _digest(folder / name) != digest)
    if foreign or changed:
        shown = [*(f"not from here: {name}" for name in foreign), *(f"changed since: {name}" for name in changed)]
        more = [f"and {len(shown) - 10} more"] if len(shown) > 10 else []
        raise ConfigError(
            f"`{folder}` holds files that would be lost",
            details="\n".join([*shown[:10], *more]),
            hint="name another folder with `-o`, or move these away",
        )


def _listed(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if digest.startswith("\\"):
            digest, name = digest[1:], name.replace("\\n", "\n").replace("\\r", "\r").replace("\\\\", "\\")
        found[name] = digest
    return found


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_among(file: Emitted, *, folder: Path) -> Path:
    """Write one sealed file into a folder of the user's and return its path.

    `ConfigError` if there is one that somebody else wrote, or changed.
    """
    assert file.data is not None
    place = folder / file.path
    try:
        old = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        old = None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{place}`: {problem}", hint="name another folder with `-o`") from problem
    if old is not None and not is_sealed(old):
        raise ConfigError(
            f"`{place}` is not as Cogsmith wrote it",
            hint="move it away, or name another folder with `-o` and take over what you need",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.draft")
        draft.write_bytes(file.data)
        draft.replace(place)
    except OSError as problem:
        raise ConfigError(
            f"could not write `{place}`: {(problem.strerror or str(problem)).lower()}", hint="name another with `-o`"
        ) from problem
    return place


def fill(files: Sequence[Emitted], *, folder: Path, epoch: int) -> None:
    """Write `files` into an empty folder, with their modes, whatever the caller's umask."""
    folders: list[tuple[Path, int]] = []
    for file in files:
        place = folder / os.fsdecode(file.path.encode())
        _make_folders(place.parent, below=folder)
        if file.target:
            place.symlink_to(os.fsdecode(file.target.encode()))
        elif file.data is not None:
            place.write_bytes(file.data)
            place.chmod(file.mode)
        elif file.source is not None:
            shutil.copyfile(file.source, place)
            place.chmod(file.mode)
        else:
            _make_folders(place, below=folder)
            folders.append((place, file.mode))
    for place, mode in folders:
        place.chmod(mode)
    for found in folder.rglob("*"):
        os.utime(found, (epoch, epoch), follow_symlinks=False)


def _make_folders(place: Path, *, below: Path) -> None:
    if place == below or place.is_dir():
        return
    _make_folders(place.parent, below=below)
    place.mkdir()
    place.chmod(0o755)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def archive(files: Sequence[Emitted], *, epoch: int) -> bytes:
    """The files as a gzipped tar: the same bytes for the same files."""
    import gzip
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            info = tarfile.TarInfo(file.path)
            info.mode, info.mtime = file.mode, epoch
            if file.target:
                info.type, info.linkname = tarfile.SYMTYPE, file.target
                tar.addfile(info)
            elif file.data is None and file.source is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                data = file.data if file.data is not None else (file.source or Path()).read_bytes()
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), compresslevel=9, mtime=0)
