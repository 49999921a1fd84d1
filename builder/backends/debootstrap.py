"""A Debian base by its own dpkg, in a sandbox: for packages with maintainer scripts that are not modelled.

What comes out is the same as where all scripts are modelled, byte for byte, if the unknown script does nothing new.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from builder import sandbox
from builder.errors import BackendError
from builder.layers.debian import finish, skeleton
from builder.layers.root import Root, read_content
from builder.layers.tree import MOUNTS, normalise, read_tar
from builder.layers.writer import Codec, Output, Packed, write_layer
from builder.plan import Compression, DebianLayer, to_plain
from builder.process import LAST_LINES
from builder.report import Report

_ENV = {
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TZ": "UTC0",
}
_FULL = os.strerror(errno.ENOSPC)
_NO_ROOM = "free some space there, or move it (`TMPDIR` for temporary files, `XDG_CACHE_HOME` for the cache)"
_WITHOUT = "a base of another suite, or an image named in `build.base_image`, does without this step"
_DEBS = "/mnt"
_INSTALL = ("dpkg", "--force-depends", "--force-unsafe-io", "--force-confnew", "--install", "--recursive", _DEBS)
_READ = (
    *("tar", "--create", "--file=-", "--directory=/", "--one-file-system", "--numeric-owner", "--sort=name"),
    *("--format=pax", "--xattrs", "--xattrs-include=security.capability"),
    *(f"--exclude=./{name}" for name in MOUNTS),
    ".",
)


def check(*, scratch: Path | None = None) -> list[str]:
    """What this machine lacks to run packages' scripts, each in one line."""
    with _explaining(scratch), tempfile.TemporaryDirectory(dir=scratch) as folder:
        return [str(problem) for problem in sandbox.check(scratch=Path(folder), ids="full", network="none")]


def pack_executed(
    layer: DebianLayer,
    *,
    inputs: Mapping[str, Path],
    out: Output,
    codec: Codec,
    compression: Compression,
    threads: int,
    report: Report,
    scratch: Path | None = None,
) -> Packed:
    """Install the packages of `layer` by their own dpkg and write the resulting tree as a layer.

    `scratch` is a folder for what lives as long as this takes; nothing stays in it.  Raises `SandboxError` where this
    machine cannot do it, `BackendError` when dpkg fails or there is no room.
    """
    root = executed_root(layer, inputs=inputs, threads=threads, report=report, scratch=scratch)
    return write_layer(
        root.members(),
        out=out,
        codec=codec,
        compression=compression,
        epoch=layer.epoch,
        compress=True,
        threads=threads,
    )


def executed_root(
    layer: DebianLayer,
    *,
    inputs: Mapping[str, Path],
    threads: int,
    report: Report,
    scratch: Path | None = None,
) -> Root:
    """The tree that dpkg leaves, normalised (see `pack_executed`)."""
    with _explaining(scratch), tempfile.TemporaryDirectory(prefix="cogsmith-", dir=scratch) as name:
        work = Path(name)
        system = work / "system"
        try:
            report.note(f"unpacking {len(layer.debs)} Debian packages")
            _write(skeleton(to_plain(layer), inputs, threads, scratch), folder=system)
            debs = work / "debs"
            debs.mkdir()
            for deb in layer.debs:
                _link(inputs[deb.sha256], debs / f"{deb.package}.deb")
            report.note("configuring them by their own dpkg")
            _install(system, debs=debs, scratch=work / "sandbox", epoch=layer.epoch)
            spool = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed with the last content that lies in it
            _run(_READ, system, scratch=work / "sandbox", epoch=layer.epoch, output=spool)
        finally:
            sandbox.remove_tree(work)  # what scripts made may be other users'
    root = read_tar(spool, epoch=layer.epoch)
    for name in MOUNTS:
        root.mkdir(name)
    normalise(root)
    finish(root)
    return root


def _install(system: Path, *, debs: Path, scratch: Path, epoch: int) -> None:
    mount = sandbox.Mount(target=_DEBS, source=debs, readonly=True)
    with tempfile.TemporaryFile(dir=debs.parent) as log:
        _run(_INSTALL, system, scratch=scratch, epoch=epoch, output=log, mounts=(mount,), told=True)


def _run(
    argv: tuple[str, ...],
    system: Path,
    *,
    scratch: Path,
    epoch: int,
    output: BinaryIO,
    mounts: tuple[sandbox.Mount, ...] = (),
    told: bool = False,
) -> None:
    # `told`: what the command writes to `output` is for people, and belongs into an error.
    spec = sandbox.Spec(
        root=sandbox.Directory(path=system),
        argv=argv,
        scratch=scratch,
        env=(*_ENV.items(), ("SOURCE_DATE_EPOCH", str(epoch))),
        mounts=mounts,
        network="none",
        ids="full",
    )
    with tempfile.TemporaryFile(dir=system.parent) as errors, Path(os.devnull).open("rb") as nothing:
        code = sandbox.run(spec, stdin=nothing, stdout=output, stderr=errors)
        if code == 0:
            return
        lines = [*(_tail(output) if told else ()), *_tail(errors)]
    full = any(_FULL in line for line in lines)
    raise BackendError(
        f"`{argv[0]}` failed in the Debian base" + (f": no space left in `{system.parent}`" if full else ""),
        details="\n".join([f"command: {' '.join(argv)}", f"ended with exit code {code}", *lines]),
        hint=_NO_ROOM if full else _WITHOUT,
    )


@contextlib.contextmanager
def _explaining(scratch: Path | None) -> Iterator[None]:
    """Say where and why this machine's files could not be written."""
    try:
        yield
    except OSError as problem:
        place = problem.filename or scratch
        raise BackendError(
            f"could not make the Debian base in {f'`{place}`' if place else 'a temporary folder'}: {problem.strerror}",
            hint=_NO_ROOM if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else None,
        ) from problem


def _tail(file: BinaryIO) -> list[str]:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 16384))
    return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(root: Root, *, folder: Path) -> None:
    # Owners are set by dpkg when it unpacks the same files again; a folder that is not root's is left for it to make.
    # Configuration files and links to folders it leaves as they are, hence the times.
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    foreign: tuple[str, ...] = ()
    for path, node in root.walk(""):
        if path.startswith(foreign):
            continue
        target = folder / path
        if node.type == "dir" and (node.uid or node.gid):
            foreign = (*foreign, f"{path}/")
        elif node.type == "dir":
            target.mkdir()
            target.chmod(node.mode)
        elif node.type == "symlink":
            target.symlink_to(node.target)
            os.utime(target, (node.mtime, node.mtime), follow_symlinks=False)
        elif node.type == "file" and node.content is not None:
            target.write_bytes(read_content(node.content))
            target.chmod(node.mode & 0o777)
            os.utime(target, (node.mtime, node.mtime))
