"""The executor of the Buildah backend: a step by `buildah run` in a working container over exactly the layers below.

Layers come into a containers-storage of our own, below the store, once each; the user's own is not touched.  Buildah
runs in namespaces that end with this process, so that nothing it starts or mounts outlives a build, killed or not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder import process, sandbox
from builder.backends import Execution
from builder.backends.executed import failed
from builder.backends.output import Output
from builder.backends.sandboxed import PROCESSES
from builder.backends.steps import HOSTNAME, Delta, Given, Step
from builder.engine import containers_storage, platform
from builder.engine.unpack import unpack_all
from builder.errors import BackendError, SandboxError
from builder.frozen import frozen
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Report
from builder.store import Store

ISOLATIONS = ("auto", "oci", "chroot")
DRIVERS = ("auto", "overlay", "vfs")
RUNTIMES = ("crun", "runc")
"""Buildah's own order."""
CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_NET_RAW")
"""What our own sandbox leaves a command, and Buildah does not."""
PREFIX = "cogsmith-"
GRACE = 5.0
"""Seconds that Buildah has to end a command when the build is interrupted."""
_ROOTLESS = "--runtime-flag rootless=true"
"""To runc, which does not see that root in a user namespace may not touch control groups."""
_SETUP_FAILED = 96
"""Exit code of the scripts when Buildah could not even begin."""
_NOISE = re.compile(
    r"(Error: |error )?(while )?(running (runtime|container|subprocess)?.*: )?exit status \d+"
    r"|subprocess exited with status \d+"
)
"""What `buildah run` adds to the output of a command that failed."""

# All of a step in one process of ours.  The words are: folder of the layers, id of the image, name of the container,
# `keep` or `drop` (what becomes of a container whose command failed), where its changes go, and the options of `run`.
_STEP = """
layers=$1 image=$2 name=$3 failed=$4 target=$5
shift 5
begin() { b from --pull-never --signature-policy "$POLICY" $OPTIONS --name "$name" "$image"; }
begin > /dev/null 2>&1 || { b pull --quiet --signature-policy "$POLICY" "dir:$layers" && begin; } > /dev/null || exit 96
"$BUILDAH" --root "$ROOT" --runroot "$RUNROOT" --storage-driver "$DRIVER" run "$@" &
running=$!
trap 'kill $running' TERM
wait $running
code=$?
while kill -0 $running 2> /dev/null; do wait $running; done
[ $code = 0 ] || : > "$target.ended"
if [ $code = 0 ]; then
    mounted=$(b mount "$name") && b umount "$name" > /dev/null || exit 96
    case $mounted in */merged) mounted=${mounted%/merged}/diff;; esac
    mv "$mounted" "$target" && mkdir "$mounted" || exit 96
fi
[ $code != 0 ] && [ $failed = keep ] || b rm "$name" > /dev/null
exit $code
"""
# Which isolation works first, printed.  The words: layers, image, name, then each way to be tried, as options of `run`.
_PROBE = """
layers=$1 image=$2 name=$3
shift 3
b info > /dev/null || exit 96
begin() { b from --pull-never --signature-policy "$POLICY" $OPTIONS --name "$name" "$image"; }
begin > /dev/null 2>&1 || { b pull --quiet --signature-policy "$POLICY" "dir:$layers" && begin; } > /dev/null || exit 96
for way in "$@"; do
    if b run $way --network host --no-hosts "$name" -- /bin/sh -c : < /dev/null >&2; then echo "$way"; break; fi
done
b rm "$name" > /dev/null
"""
_BUILDAH = 'b() { "$BUILDAH" --root "$ROOT" --runroot "$RUNROOT" --storage-driver "$DRIVER" "$@"; }\n'


@frozen
class _Way:
    """How Buildah works here: the storage driver, and the options of `run` that say how it isolates."""

    driver: str
    options: tuple[str, ...]


class Buildah:
    """An `Executor` by Buildah; `isolation` and `driver` are of `ISOLATIONS` and `DRIVERS`."""

    def __init__(self, *, isolation: str = "auto", driver: str = "auto") -> None:
        for value, known, name in ((isolation, ISOLATIONS, "isolation"), (driver, DRIVERS, "storage driver")):
            if value not in known:
                raise BackendError(f"Buildah has no {name} `{value}`", hint=f"choose one of: {', '.join(known)}")
        self._isolation = isolation
        self._driver = driver
        self._way: _Way | None = None

    def check(self, plan: Plan, *, scratch: Path) -> Sequence[str]:
        """What this machine lacks to run the commands of `plan` by Buildah, each in a few lines."""
        system, _, architecture = plan.platform.partition("/")
        problems = []
        try:
            platform.check({"os": system, "architecture": architecture})
        except SandboxError as problem:
            problems.append(str(problem))
        if shutil.which("buildah") is None:
            problems.append(f"`buildah` is not installed: {containers_storage.INSTALL['buildah']}")
        if self._isolation == "oci" and not _runtimes():
            problems.append("neither `crun` nor `runc` is installed: `apt install crun`, or take `--isolation chroot`")
        missing = sandbox.missing_ids()
        problems += [str(problem) for problem in missing or sandbox.check(scratch=scratch, ids="full", root=_HOST)]
        return problems

    def execute(
        self,
        step: Step,
        *,
        name: str,
        below: Sequence[PackedLayer],
        plan: Plan,
        work: Path,
        store: Store,
        report: Report,
        execution: Execution,
    ) -> Delta:
        """Run `step` as `Executor.execute` says."""
        folders = unpack_all(below, store=store, report=report, fetch=execution.base, full=True)
        place = _Place(work, store=store, plan=plan, below=below)
        way = self._way = self._way or self._find_way(place, store=store, report=report)
        place.forget_killed(way)
        report.note(f"{name}: {step.shown}")
        spec, options = place.spec(step, way=way)
        target = work / "changes"
        keep = "keep" if execution.debug_shell else "drop"
        words = (os.fspath(place.layers), place.image, place.name, keep, os.fspath(target), *options)
        with (
            Output(lambda line: report.note(f"{name} | {line}"), hidden=step.secrets, noise=_NOISE) as output,
            _started(spec, _STEP, words, out=output.writer) as child,
        ):
            try:
                output.read()
                code = child.wait()
            except BaseException:  # kindly first: the runtime removes its control groups, which nobody else does
                child.signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    child.wait(timeout=GRACE)
                raise
        if code == _SETUP_FAILED and not target.with_suffix(".ended").exists():  # else it is the command's own
            raise _broken(output.tail.lines, store=store)
        if code:
            problem = failed(step, code=code, tail=output.tail)
            if execution.debug_shell:
                report.warn(problem.brief)
                report.note("a shell in the state that it left; the build ends with the shell")
                place.shell(step, way=way)
            raise problem
        return Delta(form="upper" if way.driver == "overlay" else "whole", path=target, lower=tuple(folders))

    def _find_way(self, place: _Place, *, store: Store, report: Report) -> _Way:
        """What was asked for, or else what works first; remembered for this machine."""
        runtimes = _runtimes()
        ways = [f"--isolation oci --runtime {path}" for path in runtimes] if self._isolation != "chroot" else []
        ways += [f"{way} {_ROOTLESS}" for way in ways if way.endswith("/runc")]
        ways += ["--isolation chroot"] if self._isolation != "oci" else []
        drivers = ("overlay", "vfs") if self._driver == "auto" else (self._driver,)
        programs = [(path, os.stat(path).st_mtime_ns) for path in (_program(), *runtimes)]  # noqa: PTH116
        key = repr([ways, drivers, programs, os.uname().release, os.geteuid(), sandbox.ids_name()])
        if (known := store.memo("buildah", key)) is not None:
            driver, *options = known.split(" ")
            return _Way(driver=driver, options=tuple(options))
        report.note("finding out how Buildah can work here")
        told: list[str] = []
        for driver in drivers:
            way, told = place.probe(driver, ways)
            if way:
                store.remember("buildah", key, f"{driver} {way}")
                return _Way(driver=driver, options=tuple(way.split(" ")))
        raise BackendError(
            f"Buildah cannot run commands here ({self._isolation} isolation)",
            details="\n".join(told) or None,
            hint="try `--isolation chroot`, or `--backend embedded`" if self._isolation == "oci" else None,
        )


class _Place:
    """The folders of one step, and the container that runs it."""

    def __init__(self, work: Path, *, store: Store, plan: Plan, below: Sequence[PackedLayer]) -> None:
        self._work = work
        self._store = store
        self._tmp = store.root / "tmp"
        self._root = store.root / "unpacked" / f"buildah{sandbox.ids_name()}"
        self._root.mkdir(mode=0o700, exist_ok=True)
        self.name = PREFIX + work.parent.name  # our scratch folder's, which is locked while we live
        self.layers = work / "below"
        config, manifest = containers_storage.bare_image(below, platform=plan.platform)
        self.image = config.descriptor.digest.removeprefix("sha256:")
        containers_storage.write_folder(
            self.layers,
            manifest=manifest.data,
            documents={config.descriptor.digest: config.data},
            layers=below,
            store=store,
        )
        for name in ("home", "runroot", "tmp", "secrets", "host"):
            (work / name).mkdir(mode=0o700)
        (work / "containers.conf").touch()
        containers_storage.write_policy(work / "policy.json")

    def spec(self, step: Step, *, way: _Way, tty: bool = False) -> tuple[sandbox.Spec, list[str]]:
        """Where Buildah runs for `step`, and the words after `buildah run`."""
        files = [(given.target, self._source(given, number)) for number, given in enumerate(step.files)]
        for path, text in sandbox.host_files(network=step.network, hostname=HOSTNAME).items():
            (self._work / "host" / Path(path).name).write_text(text)
            (self._work / "host" / Path(path).name).chmod(0o644)
            files.append((path, self._work / "host" / Path(path).name))
        options = [*way.options, "--network", "host", "--no-hosts", "--hostname", HOSTNAME, "--workingdir", "/"]
        options += [word for name in CAPABILITIES for word in ("--cap-add", name)]
        options += [word for name, value in step.env for word in ("--env", f"{name}={value}")]
        options += [
            word for target, source in files for word in ("--volume", f"{_colons(source)}:{_colons(target)}:ro")
        ]
        options += ["--terminal"] if tty else []
        mounts = tuple(
            sandbox.Mount(target=os.fspath(self._source(given, number)), content=given.content)
            for number, given in enumerate(step.files)
            if given.content is not None
        )
        argv = ("/bin/sh",) if tty else step.argv
        spec = self._enclosure(driver=way.driver, network=step.network, mounts=mounts, tty=tty)
        return spec, [*options, self.name, "--", *argv]

    def _source(self, given: Given, number: int) -> Path:
        """A secret is there in memory only, and for Buildah only."""
        return given.source if given.source is not None else self._work / "secrets" / str(number)

    def _enclosure(
        self,
        *,
        driver: str,
        network: sandbox.Network = "host",
        mounts: tuple[sandbox.Mount, ...] = (),
        tty: bool = False,
    ) -> sandbox.Spec:
        temporary = self._work / "tmp"
        if (short := self._short_name()) is not None:
            mounts = (*mounts, sandbox.Mount(target=os.fspath(short), source=temporary))
            temporary = short
        env = {
            "PATH": os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"]),
            "HOME": os.fspath(self._work / "home"),
            "XDG_RUNTIME_DIR": os.fspath(self._work / "runroot"),
            "TMPDIR": os.fspath(temporary),
            "CONTAINERS_CONF": os.fspath(self._work / "containers.conf"),
            "BUILDAH": _program(),
            "ROOT": os.fspath(self._root / driver),
            "RUNROOT": os.fspath(self._work / "runroot"),
            "DRIVER": driver,
            # As after `buildah unshare`, for root too (`private_users`).
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": str(os.geteuid()),
            "_CONTAINERS_ROOTLESS_GID": str(os.getegid()),
            "POLICY": os.fspath(self._work / "policy.json"),
            "OPTIONS": f"--ulimit nproc={PROCESSES}:{PROCESSES} --dns none",  # /etc/resolv.conf is ours
        }
        return sandbox.Spec(
            root=_HOST,
            argv=(),
            scratch=self._work / "sandbox",
            env=tuple(env.items()),
            mounts=mounts,
            network=network,
            ids="full",
            processes=PROCESSES,
            private_users=True,
            tty=tty,
        )

    def _short_name(self) -> Path | None:
        """Where Buildah alone sees its temporary files: it makes sockets there, whose paths must be short."""
        places = (Path(name) for name in ("/mnt", "/media", "/srv"))
        return next((p for p in places if p.is_dir() and not self._store.root.resolve().is_relative_to(p)), None)

    def probe(self, driver: str, ways: Sequence[str]) -> tuple[str, list[str]]:
        """The first of `ways` that works with `driver`, and what was said; empty if none does."""
        read, write = os.pipe()
        with os.fdopen(read) as answer, Output(lambda _: None) as output:
            words = (os.fspath(self.layers), self.image, f"{self.name}-probe", *ways)
            with _started(self._enclosure(driver=driver), _PROBE, words, out=write, errors=output.writer) as child:
                os.close(write)
                output.read()
                child.wait()
            return answer.read().strip(), output.tail.lines

    def shell(self, step: Step, *, way: _Way) -> None:
        """A shell in the working container, on the caller's terminal."""
        spec, options = self.spec(step, way=way, tty=True)
        words = ("sh", "-c", _BUILDAH + 'b run "$@"', "sh", *options)
        with contextlib.suppress(KeyboardInterrupt):
            sandbox.run(_with(spec, words))
        self._remove([self.name], driver=way.driver)

    def forget_killed(self, way: _Way) -> None:
        """Remove the working containers of builds that are gone."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads((self._root / way.driver / f"{way.driver}-containers" / "containers.json").read_text())
            names = [name for item in found for name in item["names"] if name.startswith(PREFIX)]
            dead = [name for name in names if not self._is_alive(name.removeprefix(PREFIX).removesuffix("-probe"))]
            if dead:
                self._remove(dead, driver=way.driver)

    def _is_alive(self, scratch: str) -> bool:
        try:
            folder = os.open(self._tmp / scratch, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(folder)
        return False

    def _remove(self, names: Sequence[str], *, driver: str) -> None:
        with (
            Path(os.devnull).open("wb") as nothing,
            _started(self._enclosure(driver=driver), 'b rm "$@"', names, out=nothing.fileno()) as child,
        ):
            child.wait()


_HOST = sandbox.Host()


@contextlib.contextmanager
def _started(
    spec: sandbox.Spec, script: str, words: Sequence[str], *, out: int, errors: int | None = None
) -> Iterator[sandbox.Child]:
    argv = ("sh", "-c", _BUILDAH + script, "sh", *words)
    with sandbox.start(
        _with(spec, argv), stdin=sandbox.DEVNULL, stdout=out, stderr=out if errors is None else errors
    ) as child:
        yield child


def _with(spec: sandbox.Spec, argv: tuple[str, ...]) -> sandbox.Spec:
    return dataclasses.replace(spec, argv=argv)


def _program() -> str:
    return process.find("buildah", purpose="run commands", hint=f"install it: {containers_storage.INSTALL['buildah']}")


def _runtimes() -> list[str]:
    path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
    return [found for name in RUNTIMES if (found := shutil.which(name, path=path)) is not None]


def _colons(path: Path | str) -> str:
    return os.fspath(path).replace(":", "\\:")


def _broken(lines: Sequence[str], *, store: Store) -> BackendError:
    return BackendError(
        "Buildah could not make a container of the layers",
        details="\n".join(lines) or shlex.join(["buildah", "from"]),
        hint=f"`cogsmith cache prune` removes what it keeps in `{store.root}`; `--backend embedded` does without it",
    )
