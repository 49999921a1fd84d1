"""Nix's own programs, with the options that a build of ours always has: the sandbox on, and nothing in its place.

Finds the store to use: one that was named, the daemon's, the machine's own, or one below the cache.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder import process
from builder.backends.nix_paths import FOLDER, flat_path, store_name
from builder.errors import BackendError, StoreError
from builder.frozen import frozen
from builder.report import Report
from builder.store import Store

OLDEST = (2, 8)
SOCKET = Path("/nix/var/nix/daemon-socket/socket")
STATE = Path("/nix/var/nix")
PROGRAMS = ("nix-build", "nix-store")
GET = "install Nix 2.8 or later: `apt-get install nix-bin` on Debian and Ubuntu, or as nixos.org says"
_FULL = (b"No space left on device", b"disk quota exceeded", b"database or disk is full")
RETRY = "run the command above by hand to see whether Nix works with this store, or name another by `--nix-store DIR`"
_AT_ONCE = 500
"""Paths on one command line."""


@frozen
class Tool:
    """Nix and a store.

    `private` is the folder of a store of its own (`--store DIR`), `own` one for a Nix without namespaces: its paths
    begin there and not with `/nix`.  None of both: the machine's, of the daemon at `daemon` (a store URL) if not empty.
    """

    private: Path | None = None
    own: Path | None = None
    daemon: str = ""
    caches: tuple[str, ...] = ()
    """Binary caches to ask; none of Nix's own settings are used otherwise."""

    @property
    def folder(self) -> str:
        """What store paths begin with."""
        return f"{self.own}/store" if self.own else FOLDER

    @property
    def place(self) -> str:
        """The folder whose store it is, for people and for telling one from another."""
        return str(self.private or self.own or "/nix")

    def physical(self, path: str) -> Path:
        """Where a store path is on this disk."""
        return Path(f"{self.private}{path}") if self.private else Path(path)

    def flat(self, name: str, sha256: str) -> str:
        """The store path of a file known by its hash."""
        return flat_path(store_name(name), sha256, folder=self.folder)

    def argv(self, program: str, *arguments: str | Path) -> list[str]:
        """The command line of a Nix program."""
        settings = {
            "sandbox": "false" if self.own else "true",
            "sandbox-fallback": "false",
            "sandbox-paths": "",  # not even a shell, which some packages of Nix put there
            "build-users-group": "",
            "max-jobs": str(_jobs()),
            "substitute": "true" if self.caches else "false",
            "warn-dirty": "false",
        }
        if self.caches:
            settings["substituters"] = " ".join(self.caches)
        if self.daemon:
            for name in ("build-users-group", "sandbox", "sandbox-fallback", "sandbox-paths"):
                del settings[name]  # not ours to say: see `_is_sandboxed`
        where = self.daemon or self.private
        words = [program, *(["--store", str(where)] if where else [])]
        for name, value in settings.items():
            words += ["--option", name, value]
        if self.own:
            places = {"STORE": "store", "STATE": "var", "LOG": "log"}
            words = ["env", *(f"NIX_{name}_DIR={self.own}/{place}" for name, place in places.items()), *words]
        return [*words, *map(str, arguments)]

    def run(self, program: str, *arguments: str | Path, purpose: str) -> str:
        """Run it to its end; an error that completes "could not ..." with `purpose` otherwise."""
        command = self.argv(program, *arguments)
        code, output, errors = process.attempt(command)
        if code:
            details = process.explain(command, code, errors)
            raise self.full(errors, details=details) or BackendError(
                f"could not {purpose}", details=details, hint=RETRY
            )
        return output.decode()

    def full(self, errors: bytes, *, details: str) -> StoreError | None:
        """The error for a Nix that wrote `errors` because there was no room, if that is why."""
        if not any(mark in errors for mark in _FULL):
            return None
        hint = "free some space (`nix-store --gc` helps, with the same `--store`), or name a place with `--nix-store`"
        return StoreError(f"no space left for the Nix store in `{self.place}`", details=details, hint=hint)

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Those of the store paths that the store does not have."""
        found: set[str] = set()
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            found.update(
                self.run("nix-store", "--check-validity", "--print-invalid", *some, purpose="ask the Nix store").split()
            )
        return found

    def substitute(self, paths: Sequence[str]) -> None:
        """Get what the binary caches have of the paths; what none has stays missing, and that is no error."""
        if self.caches and paths:
            process.attempt(self.argv("nix-store", "--realise", "--keep-going", *paths))

    def add(self, files: Mapping[str, tuple[str, Path]], *, store: Store) -> None:
        """Put files into the Nix store: store path → (name, where it lies); `BackendError` if one changed meanwhile."""
        with store.scratch() as scratch:
            places = [_named(name, path, folder=scratch / str(i)) for i, (name, path) in enumerate(files.values())]
            for start in range(0, len(places), _AT_ONCE):
                some, want = places[start : start + _AT_ONCE], list(files)[start : start + _AT_ONCE]
                got = self.run(
                    "nix-store", "--add-fixed", "sha256", *some, purpose="add files to the Nix store"
                ).split()
                for place, have, wanted in zip(some, got, want, strict=True):
                    if have != wanted:
                        raise BackendError(
                            f"`{place.name}` is not what was locked: its content is different",
                            details=f"expected: {wanted}\nfound:    {have}",
                            hint="it is damaged or was replaced; remove it so that it is fetched again",
                        )

    def add_folder(self, folder: Path) -> str:
        """Put a folder into the Nix store, and return its path."""
        out = self.run("nix-store", "--add-fixed", "--recursive", "sha256", folder, purpose="add to the Nix store")
        return out.strip()

    def root(self, path: str, *, link: Path) -> None:
        """Keep a store path from the garbage collector for as long as `link` exists."""
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        self.run("nix-store", "--realise", path, "--add-root", link, "--indirect", purpose="register a garbage root")


def find(settings: Mapping[str, str], *, store: Store, report: Report) -> Tool:
    """The store to use on this machine.

    `settings` are `nix_store` (a folder, `daemon` or a URL of one), `nix_cache` (URLs) and `nix_sandbox` (`off`: none,
    aloud).  As Nix does by itself, the machine's store is written where this user may, else the daemon is asked; where
    there is none, the store is one below the cache.  `BackendError` for a daemon that has no sandbox.
    """
    caches = tuple(settings.get("nix_cache", "").split())
    named = settings.get("nix_store", "")
    daemon = named if named == "daemon" or "://" in named else ""
    unsandboxed = settings.get("nix_sandbox") == "off"
    if unsandboxed:
        report.warn("not sandboxed: what Nix builds can read what its user can, and reach the network")
    if unsandboxed and not daemon:
        return Tool(own=Path(named or store.root / "nix" / "unsandboxed").absolute(), caches=caches)
    if named and not daemon:
        return Tool(private=Path(named).absolute(), caches=caches)
    if not daemon and (os.access(STATE, os.W_OK) or (os.getuid() == 0 and not STATE.exists())):
        return Tool(caches=caches)
    if not daemon and not os.access(SOCKET, os.W_OK):
        return Tool(private=store.root / "nix" / "store", caches=caches)
    if not unsandboxed and not _is_sandboxed():
        raise BackendError(
            "the Nix daemon of this machine builds without a sandbox",
            hint="set `sandbox = true` in its nix.conf, name a store of your own with `--nix-store DIR`, or accept it:"
            " `--nix-unsandboxed --nix-store daemon`",
        )
    return Tool(daemon=daemon or "daemon", caches=caches)


def _is_sandboxed() -> bool:
    """Whether the daemon's configuration, which this machine's clients read as well, has the sandbox on."""
    for words in (("config", "show"), ("show-config",)):  # the newer name first
        code, output, _ = process.attempt(["nix", "--extra-experimental-features", "nix-command", *words])
        if code == 0:
            return re.search(r"^sandbox = (true|relaxed)$", output.decode(), re.MULTILINE) is not None
    return False


def problems() -> list[str]:
    """What this machine lacks to run Nix at all, each with what to do about it."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return [f"`{name}` is not installed: {GET}" for name in absent]
    try:
        version = _version()
    except (OSError, BackendError) as problem:
        return [f"`nix-build --version` does not answer: {problem}"]
    if version < OLDEST:
        return [f"Nix {'.'.join(map(str, version))} is too old: {GET}"]
    return []


def _version() -> tuple[int, ...]:
    text = process.run([process.find("nix-build", purpose="build with Nix", hint=GET), "--version"], purpose="run Nix")
    # `(Nix) 2.8.0`, `(Determinate Nix 3.1.0) 2.28.1`, `(Lix, like Nix) 2.91.1`
    found = re.search(r"\([^)]*\bNix\b[^)]*\) .*?(\d+)\.(\d+)", text.decode())
    if found is None:
        raise BackendError(f"`nix-build --version` says `{text.decode().strip()}`, which names no version", hint=GET)
    return int(found[1]), int(found[2])


def _jobs() -> int:
    # Nix's default is one at a time.
    return max(2, os.cpu_count() or 1)


def _named(name: str, path: Path, *, folder: Path) -> Path:
    """The file under the name that its store path has: `--add-fixed` takes it from there, and follows no link."""
    wanted = store_name(name)
    if path.name == wanted:
        return path
    folder.mkdir()
    target = folder / wanted
    try:
        target.hardlink_to(path)
    except OSError:  # another file system, or another user's
        shutil.copyfile(path, target)
    return target
