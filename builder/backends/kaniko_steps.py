"""The Kaniko backend's executor: a step is the one `RUN` of a Dockerfile that Kaniko carries out over our layers.

Kaniko works on the root that it finds.  It gets a root of its own, an overlay of the layers below in our own sandbox,
and `FROM scratch`: it unpacks nothing, asks no registry, sees no credentials, and its layer is what the step changed.
All that is mounted is on its list of what to ignore: what a step is given, secrets included, is in no layer.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from builder import sandbox
from builder.backends import Execution
from builder.backends.kaniko import find
from builder.backends.output import Tail
from builder.backends.sandboxed import PROCESSES, Sandboxed, run
from builder.backends.steps import HOSTNAME, Delta, Step
from builder.engine.unpack import unpack_all
from builder.errors import BackendError
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.process import attempt
from builder.report import Report
from builder.store import Store

PLACE = "/kaniko"
"""Kaniko's own folder, which it takes into no layer."""

LINE = 2000
"""Characters of a line of the Dockerfile before it is continued; its parser takes 64 KiB."""

FLAGS = (
    "--force",  # it wants to be in a container, and does not recognise ours
    "--no-push",
    f"--context=dir://{PLACE}/context",
    f"--dockerfile={PLACE}/context/Dockerfile",
    f"--oci-layout-path={PLACE}/image",
    "--snapshot-mode=full",  # by content: the others can miss a change of the same size and time
    "--ignore-var-run=false",
    "--compression-level=1",
    "--verbosity=error",
    "--log-format=text",
)
"""Never `--reproducible`, which rewrites layers, nor `--use-new-run`, which loses deletions."""

_ENDED = re.compile(r"waiting for process to exit: (?:exit status (\d+)|signal: (.*))")
_SIGNALS = {"killed": 137, "terminated": 143, "segmentation fault": 139, "aborted": 134, "interrupt": 130}


class Kaniko:
    """An `Executor` that has Kaniko run the commands; `program` is where the user says it is."""

    def __init__(self, *, program: str | None = None) -> None:
        self._program = program

    def check(self, plan: Plan, *, scratch: Path) -> Sequence[str]:
        """All that is missing here: what our sandbox wants, and Kaniko's executor."""
        problems = list(Sandboxed().check(plan, scratch=scratch))
        try:
            program = find(self._program)
        except BackendError as problem:
            return [*problems, str(problem)]
        try:
            code, _, told = attempt([program, "version"])
        except OSError as problem:
            return [*problems, f"`{program}` cannot be executed: {(problem.strerror or '').lower()}"]
        if code:
            last = told.decode(errors="replace").strip().splitlines()[-1:]
            problems.append(f"`{program}` is not Kaniko's executor: `{program} version` ended with {code} {last}")
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
        """Run `step` as `Executor.execute` says; `SandboxError` where this machine cannot."""
        program = find(self._program)
        folders = unpack_all(below, store=store, report=report, fetch=execution.base, full=True)
        report.note(f"{name}: {step.shown}")
        for folder in ("upper", "work", "kaniko", "kaniko/context"):
            (work / folder).mkdir()
            (work / folder).chmod(0o755)
        (work / "kaniko" / "context" / "Dockerfile").write_text(dockerfile(step), encoding="utf-8")
        spec = _spec(step, program=program, platform=plan.platform, lower=folders, work=work)
        run(step, spec=spec, name=name, report=report, execution=execution, judge=_judge)
        return Delta(form="archive", path=layer_of(work / "kaniko" / "image", work=work), lower=tuple(folders))


def dockerfile(step: Step) -> str:
    """The text that Kaniko reads.

    Variables come as build arguments, which need no quoting and may hold line ends; but `PATH`, which an empty image
    has already.  The command is in the form that no shell and no parser of here-documents reads.
    """
    names = [name for name, _ in step.env if name != "PATH"]
    path = dict(step.env).get("PATH", "")
    for sign in '\\"$':
        path = path.replace(sign, f"\\{sign}")
    words = json.dumps(list(step.argv)).replace("<", "\\u003c").replace("#", "\\u0023")
    lines = ["FROM scratch", *(f"ARG {name}" for name in names), f'ENV PATH="{path}"', f"RUN {words}"]
    return "".join(f"{_continued(line)}\n" for line in lines)


def _continued(text: str) -> str:
    """A long line as several, broken between two letters: no escape is torn, and no parser sees anything else."""
    parts = []
    while len(text) > 2 * LINE and (place := re.compile(r"(?<=[a-zA-Z ][a-zA-Z])(?=[a-zA-Z])").search(text, LINE)):
        parts.append(text[: place.start()])
        text = text[place.start() :]
    return "\\\n".join([*parts, text])


def _spec(step: Step, *, program: Path, platform: str, lower: Sequence[Path], work: Path) -> sandbox.Spec:
    arguments = [f"--build-arg={name}={value}" for name, value in step.env if name != "PATH"]
    return sandbox.Spec(
        root=sandbox.Overlay(lower=tuple(lower), upper=work / "upper", work=work / "work"),
        argv=(f"{PLACE}/executor", *FLAGS, f"--custom-platform={platform}", *arguments),
        env=(("HOME", "/root"), ("PATH", PLACE), ("DOCKER_CONFIG", f"{PLACE}/.docker")),
        mounts=(
            sandbox.Mount(target=PLACE, source=work / "kaniko"),
            sandbox.Mount(target=f"{PLACE}/executor", source=program, readonly=True),
            *(
                sandbox.Mount(target=given.target, source=given.source, content=given.content, readonly=True)
                for given in step.files
            ),
        ),
        scratch=work / "sandbox",
        network=step.network,
        hostname=HOSTNAME,
        ids="full",
        processes=PROCESSES,
        private_users=True,
    )


def _judge(code: int, tail: Tail) -> int:
    """The command's exit code; `BackendError` if it was not the command that failed."""
    ended = exit_code(tail)
    if ended is None:
        raise BackendError(
            "Kaniko could not run a command",
            details="\n".join([*tail.lines, f"Kaniko's executor ended with exit code {code}"]),
            hint="`--backend embedded` runs it without Kaniko",
        )
    return ended


def exit_code(tail: Tail) -> int | None:
    """The exit code of the command, as Kaniko's last lines tell it; none if it was not the command that failed."""
    for line in reversed(tail.lines):
        if (found := _ENDED.search(line)) is not None:
            return int(found[1]) if found[1] else _SIGNALS.get(found[2].partition(" (")[0], 128)
    return None


def layer_of(image: Path, *, work: Path) -> Path:
    """The one layer of an OCI layout that holds anything, uncompressed, in `work`; an empty one if there is none.

    The command could write where the layout is: no link is followed.
    """
    target = work / "layer.tar"
    found = 0
    for digest in _layers(image):
        candidate = work / "candidate.tar"
        with _open(image, digest) as blob, candidate.open("wb") as file:
            try:
                shutil.copyfileobj(blob, file, 1 << 20)
            except (OSError, EOFError) as problem:
                if isinstance(problem, OSError) and problem.errno:
                    raise
                raise _unlike(f"{digest} is damaged") from problem
        if _has_members(candidate):
            found += 1
            candidate.replace(target)
    if found > 1:
        raise _unlike(f"one step became {found} layers")
    if not found:
        with tarfile.open(target, "w"):
            pass
    return target


def _layers(image: Path) -> Iterator[str]:
    try:
        index = json.loads(_inside(image, "index.json").read_bytes())
        manifest = _document(image, index["manifests"][0])
        yield from [str(layer["digest"]) for layer in manifest["layers"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise _unlike(str(problem)) from problem


def _document(image: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_blob(image, str(descriptor["digest"])).read_bytes())
    return document


def _open(image: Path, digest: str) -> contextlib.AbstractContextManager[Any]:
    path = _blob(image, digest)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _blob(image: Path, digest: str) -> Path:
    if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None:
        raise _unlike(f"`{digest}` is no digest")
    return _inside(image, "blobs", "sha256", digest.removeprefix("sha256:"))


def _inside(folder: Path, *parts: str) -> Path:
    if folder.is_symlink():
        raise _unlike(f"`{folder.name}` is a link")
    for part in parts:
        folder /= part
        if folder.is_symlink():
            raise _unlike(f"`{part}` is a link")
    if not folder.is_file():
        raise _unlike(f"there is no `{parts[-1]}`")
    return folder


def _has_members(tar: Path) -> bool:
    try:
        with tarfile.open(tar, "r:") as archive:
            return archive.next() is not None
    except tarfile.ReadError:
        return False


def _unlike(what: str) -> BackendError:
    return BackendError(
        "what Kaniko left is no image", details=what, hint="`--backend embedded` runs the command without Kaniko"
    )
