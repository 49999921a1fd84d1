"""What is executed: a step, the same on every backend, and who executes it.

A backend that runs commands is an `Executor`.  It gets layers that are in the store and a step, and hands back what the
step changed, in whatever form it has it; the packer normalises that and makes the bytes (`builder.backends.executed`).
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, assert_never

from builder.backends import Execution
from builder.errors import BackendError
from builder.frozen import frozen
from builder.oci import PackedLayer
from builder.plan import Layer, Network, PackagesLayer, Plan, RunLayer
from builder.report import Report
from builder.store import Store

Executed: TypeAlias = RunLayer | PackagesLayer
"""The layers whose bytes come from a command."""

PIP_FOLDER = "/run/cogsmith/bin"

HOSTNAME = "cogsmith"
"""What every step's machine is called, in `$HOSTNAME` too: container engines set it, and no two backends may differ."""

PIP = """#!/bin/sh
# Installs into the model's environment, whichever pip the base has.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
python=/opt/venv/bin/python
if ! "$python" -c 'import pip' 2>/dev/null; then
    bundled=$("$python" -c 'import ensurepip, os, glob
own = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
folders = own, getattr(ensurepip, "_WHEEL_PKG_DIR", None) or "/usr/share/python-wheels"
print([path for folder in folders for path in sorted(glob.glob(folder + "/pip-*.whl"))][0])' 2>/dev/null)
    if [ -z "$bundled" ]; then
        echo "pip: this base has none: name what is needed in the requirements of cog.yaml, or \\`pip\\` itself" >&2
        exit 127
    fi
    exec "$python" "$bundled/pip" "$@"
fi
exec "$python" -m pip "$@"
"""


@frozen
class Given:
    """What a step can read at `target`, and nobody finds in a layer.

    A file or folder `source` of this machine, read-only with the modes that it has; or `content`, a secret: a file of
    mode 0400 that must never be on a disk.
    """

    target: str
    source: Path | None = None
    content: bytes | None = None


@frozen
class Step:
    """A command as root in `/`, over the layers below it; `env` is its whole environment.

    `what` and `shown` are for people: what kind of step it is, and the command.
    """

    what: str
    argv: tuple[str, ...]
    shown: str
    env: tuple[tuple[str, str], ...]
    network: Network
    files: tuple[Given, ...] = ()

    @property
    def secrets(self) -> list[bytes]:
        """What must not be seen in any output."""
        return [given.content for given in self.files if given.content is not None]


Form: TypeAlias = Literal["upper", "archive", "whole"]


@frozen
class Delta:
    """What a step left: an overlay's upper folder, a layer as an uncompressed tar, or a whole tree, at `path`.

    `lower` are the folders of the unpacked layers below, the base first, as `engine.unpack.unpack_all` gives them in
    full.  `consumed` says that nobody wants the files of an upper folder once they are packed.
    """

    form: Form
    path: Path
    lower: tuple[Path, ...]
    consumed: bool = False


class Executor(Protocol):
    """Who runs the steps of a plan."""

    def check(self, plan: Plan, *, scratch: Path) -> Sequence[str]:
        """All that is missing here to run the steps of `plan`, each with the command that gets it."""

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
        """Run `step` over the layers `below`, all of which are in the store or can be had by `execution.base`.

        `name` stands before each line of its output; `work` is an empty folder on the store's file system, removed by
        the caller when the delta is packed.  Raises `BackendError` (`executed.failed`) when the command fails.
        """


def step_of(layer: Executed, *, inputs: Mapping[str, Path], work: Path, execution: Execution) -> Step:
    """The step that makes `layer`; the machine it runs on is called `HOSTNAME`.

    `inputs` has the files that the layer names by hash, `work` is a folder for what the step is given.  `BackendError`
    for a secret that is missing.
    """
    match layer:
        case RunLayer():
            return Step(
                what="a command of `build.run`",
                argv=("/bin/sh", "-c", layer.command),
                shown=layer.command,
                env=_named(layer.env),
                network=layer.network,
                files=(_pip(work), *_secrets(layer, execution=execution)),
            )
        case PackagesLayer():
            from builder.backends.apt import install_step

            step = install_step(layer, inputs=inputs, work=work)
            return dataclasses.replace(step, env=_named(step.env))
        case _:
            assert_never(layer)


def _named(env: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return env if any(name == "HOSTNAME" for name, _ in env) else (*env, ("HOSTNAME", HOSTNAME))


def _pip(work: Path) -> Given:
    folder = _folder(work / "bin")
    for name in ("pip", "pip3"):
        (folder / name).write_text(PIP)
        (folder / name).chmod(0o755)
    return Given(target=PIP_FOLDER, source=folder)


def _folder(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o755)
    return path


def check_secrets(layer: Layer, *, execution: Execution) -> None:
    """`BackendError` for a secret that the layer's command wants and nobody gave."""
    if not isinstance(layer, RunLayer):
        return
    missing = [secret.id for secret in layer.secrets if secret.id not in execution.secrets]
    if missing:
        raise BackendError(
            f"`{layer.command}` wants the secret `{missing[0]}`, which was not given",
            hint=f"`--secret id={missing[0]},src=FILE` or `--secret id={missing[0]},env=NAME`",
        )


def _secrets(layer: RunLayer, *, execution: Execution) -> list[Given]:
    check_secrets(layer, execution=execution)
    return [Given(target=secret.target, content=execution.secrets[secret.id]) for secret in layer.secrets]


def arguments(delta: Delta, *, epoch: int, step: Step) -> dict[str, Any]:
    """What `layers.handed.write_delta` is told."""
    return {
        delta.form: str(delta.path),
        "lower": [str(folder) for folder in delta.lower],
        "epoch": epoch,
        "consumed": delta.consumed,
        "step": step.shown,
        "secrets": {
            given.target: base64.b64encode(given.content).decode() for given in step.files if given.content is not None
        },
        "mounts": [given.target for given in step.files],
    }
