"""What a sandbox is asked to be: plain values.  Imports nothing of ours; does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from builder.frozen import frozen

Ids: TypeAlias = Literal["single", "full"]
Network: TypeAlias = Literal["host", "none"]


@frozen
class Mount:
    """Something to see at `target` inside: `source` of the host, or an empty tmpfs when there is none.

    Devices do not work there, unless it is one itself and `device` says so.  With `content` it is a file that holds
    these bytes, for root to read: in memory, never on a disk.
    """

    target: str
    source: Path | None = None
    readonly: bool = False
    device: bool = False
    content: bytes | None = None


@frozen
class Overlay:
    """A root made of directories, the base first; at most 500.

    What the container writes goes to `upper` (with `work` beside it, on the same file system; both belong to the
    caller, who removes them with `remove_tree`), or to a scratch directory that is gone afterwards.
    """

    lower: tuple[Path, ...]
    upper: Path | None = None
    work: Path | None = None


@frozen
class Directory:
    """One directory as root; what the container writes stays in it."""

    path: Path
    readonly: bool = False


@frozen
class Host:
    """No other root: a program of this machine that makes containers itself, with the caller's privileges.

    It has the machine's files and devices, and namespaces of its own: what it starts and mounts ends with it, however
    it ends.  Targets of mounts are paths of this machine, and only this program sees what is there.
    """


@frozen
class Spec:
    """A command and the world it is to see.

    `ids` `single` maps root inside to the caller and nothing else; `full` gives 65536 ids from /etc/subuid, for
    commands that change owners.  Real root needs no user namespace and always has all ids.  `scratch` is a directory
    for what lives as long as the container; it is made when absent.  `init` puts a PID 1 before the command that reaps
    orphans; `tty` leaves the command in the caller's session, so that the terminal's signals reach it.  `env` is the
    whole environment; a command without `/` is found on its `PATH`.  `shm_size` limits `/dev/shm` (tmpfs notation),
    `processes` their number, as far as this machine lets us (0: nothing does).

    `private_users` puts real root, too, into a user namespace, of all ids as they are, where this machine has them: the
    kernel treats its root as it treats an ordinary user's.  (It takes the set-uid bit off a file that is written to,
    but not for real root.)
    """

    root: Overlay | Directory | Host
    argv: tuple[str, ...]
    scratch: Path
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    hostname: str = "cogsmith"
    network: Network = "host"
    ids: Ids = "single"
    init: bool = True
    tty: bool = False
    shm_size: str = "6g"
    processes: int = 0
    private_users: bool = False
