"""The embedded backend's executor: a step in our own sandbox, over an overlay of the unpacked layers.

Needs a kernel with user namespaces and all ids of an image: root, or an ordinary user with subordinate ids.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from builder import sandbox
from builder.backends import Execution
from builder.backends.executed import failed
from builder.backends.output import Output, Tail
from builder.backends.steps import HOSTNAME, Delta, Step
from builder.engine import platform
from builder.engine.unpack import unpack_all
from builder.errors import SandboxError
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Report
from builder.store import Store

PROCESSES = 4096
"""Most processes of a command at once."""


class Sandboxed:
    """An `Executor` that needs no other program."""

    def check(self, plan: Plan, *, scratch: Path) -> Sequence[str]:
        """What this machine lacks to run the commands of `plan`, each in a few lines."""
        system, _, architecture = plan.platform.partition("/")
        try:
            platform.check({"os": system, "architecture": architecture})
            sandbox.check_ids()
        except SandboxError as problem:
            return [str(problem)]
        return [str(problem) for problem in sandbox.check(scratch=scratch, ids="full")]

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
        del plan
        folders = unpack_all(below, store=store, report=report, fetch=execution.base, full=True)
        report.note(f"{name}: {step.shown}")
        for folder in ("upper", "work"):
            (work / folder).mkdir()
            (work / folder).chmod(0o755)
        run(step, spec=_spec(step, lower=folders, work=work), name=name, report=report, execution=execution)
        return Delta(form="upper", path=work / "upper", lower=tuple(folders), consumed=True)


def _spec(step: Step, *, lower: Sequence[Path], work: Path) -> sandbox.Spec:
    return sandbox.Spec(
        root=sandbox.Overlay(lower=tuple(lower), upper=work / "upper", work=work / "work"),
        argv=step.argv,
        env=step.env,
        mounts=tuple(
            sandbox.Mount(target=given.target, source=given.source, content=given.content, readonly=True)
            for given in step.files
        ),
        scratch=work / "sandbox",
        network=step.network,
        hostname=HOSTNAME,
        ids="full",
        processes=PROCESSES,
        private_users=True,
    )


def run(
    step: Step,
    *,
    spec: sandbox.Spec,
    name: str,
    report: Report,
    execution: Execution,
    judge: Callable[[int, Tail], int] | None = None,
) -> None:
    """Run `spec`, which carries out `step`, its output told line by line; `BackendError` if the command fails.

    `judge` tells the exit code of the command from that of the program which ran it, and from its last lines.
    """
    with (
        Output(lambda line: report.note(f"{name} | {line}"), hidden=step.secrets) as output,
        sandbox.start(spec, stdin=sandbox.DEVNULL, stdout=output.writer, stderr=output.writer) as child,
    ):
        output.read()
        code = child.wait()
    if code == 0:
        return
    problem = failed(step, code=judge(code, output.tail) if judge else code, tail=output.tail)
    if execution.debug_shell:
        report.warn(problem.brief)
        report.note("a shell in the state that it left; the build ends with the shell")
        with contextlib.suppress(KeyboardInterrupt):
            sandbox.run(dataclasses.replace(spec, argv=("/bin/sh",), env=step.env, tty=True))
    raise problem
