"""Layers that a command makes: run it in the sandbox over the layers below, and pack what it changed.

Needs a kernel with user namespaces and all ids of an image: root, or an ordinary user with subordinate ids.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from builder import sandbox
from builder.backends import Execution
from builder.backends.output import Output, Tail
from builder.engine import platform
from builder.engine.unpack import unpack_all
from builder.errors import BackendError, SandboxError, StoreError
from builder.layers.writer import Codec, Packed, piece_size, write_packed
from builder.layers.writer import Output as Blob
from builder.oci import PackedLayer
from builder.plan import Plan, RunLayer, chain_link, title, to_plain
from builder.report import Report
from builder.store import Store

PIPE_SIZE = 1 << 20
PROCESSES = 4096
"""Most processes of a command at once."""

PIP = """#!/bin/sh
# Installs into the model's environment, whichever pip the base has.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
python=/opt/venv/bin/python
if ! "$python" -c 'import pip' 2>/dev/null; then
    bundled=$("$python" -c 'import ensurepip, os, glob
print(max(glob.glob(os.path.join(os.path.dirname(ensurepip.__file__), "_bundled", "pip-*.whl"))))' 2>/dev/null)
    if [ -z "$bundled" ]; then
        echo "pip: this base has none: name what is needed in the requirements of cog.yaml, or \\`pip\\` itself" >&2
        exit 127
    fi
    exec "$python" "$bundled/pip" "$@"
fi
exec "$python" -m pip "$@"
"""


def check(plan: Plan, *, scratch: Path) -> list[str]:
    """What this machine lacks to run the commands of `plan`, each in a few lines."""
    system, _, architecture = plan.platform.partition("/")
    try:
        platform.check({"os": system, "architecture": architecture})
        sandbox.check_ids()
    except SandboxError as problem:
        return [str(problem)]
    return [str(problem) for problem in sandbox.check(scratch=scratch, ids="full")]


def pack_run(
    layer: RunLayer,
    *,
    name: str,
    below: Sequence[PackedLayer],
    store: Store,
    out: Blob,
    codec: Codec,
    compression: str,
    threads: int,
    report: Report,
    execution: Execution,
) -> Packed:
    """Run the command of `layer` over the layers `below` and write what it changed to `out`.

    `name` stands before each line of its output.  Raises `BackendError` when it fails, `SandboxError` where this
    machine cannot run it.
    """
    secrets = _secrets(layer, execution=execution)
    folders = unpack_all(below, store=store, report=report, fetch=execution.base, full=True)
    report.note(f"{name}: {layer.command}")
    with _workplace(store) as work:
        spec = _spec(layer, lower=folders, work=work, secrets=secrets)
        _run(layer, spec=spec, name=name, report=report, execution=execution)
        arguments = {
            "upper": str(work / "upper"),
            "lower": [str(folder) for folder in folders],
            "epoch": layer.epoch,
            "mounts": [mount.target for mount in spec.mounts],
        }
        return pack_delta(arguments, out=out, codec=codec, compression=compression, threads=threads)


def pack_delta(arguments: dict[str, Any], *, out: Blob, codec: Codec, compression: str, threads: int) -> Packed:
    """Write the normalised delta that `arguments` describe (`layers.handed`) to `out`."""
    with sandbox.work("builder.layers.handed", "write_delta", arguments, stdout=True) as worker:
        with contextlib.suppress(OSError):  # beyond the user's limit: the pipe is as small as it was
            fcntl.fcntl(worker.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        size = piece_size(compression)
        pieces = iter(lambda: worker.stdout.read(size), b"")
        packed = write_packed(pieces, out=out, codec=codec, compression=compression, threads=threads)
        worker.result()
    return packed


@contextlib.contextmanager
def _workplace(store: Store) -> Iterator[Path]:
    with store.scratch() as work:
        try:
            for folder in ("upper", "work", "bin"):
                (work / folder).mkdir()
                (work / folder).chmod(0o755)
            for pip in ("pip", "pip3"):
                (work / "bin" / pip).write_text(PIP)
                (work / "bin" / pip).chmod(0o755)
            yield work
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreError(
                f"no space left for what a command writes in `{store.root}`",
                hint="free some: `cogsmith cache prune`, or move the cache with `XDG_CACHE_HOME`",
            ) from problem
        finally:
            sandbox.remove_tree(work)  # it may hold files of the image's other users


def _secrets(layer: RunLayer, *, execution: Execution) -> list[sandbox.Mount]:
    missing = [secret.id for secret in layer.secrets if secret.id not in execution.secrets]
    if missing:
        raise BackendError(
            f"`{layer.command}` wants the secret `{missing[0]}`, which was not given",
            hint=f"`--secret id={missing[0]},src=FILE` or `--secret id={missing[0]},env=NAME`",
        )
    return [
        sandbox.Mount(target=secret.target, content=execution.secrets[secret.id], readonly=True)
        for secret in layer.secrets
    ]


def _spec(layer: RunLayer, *, lower: Sequence[Path], work: Path, secrets: list[sandbox.Mount]) -> sandbox.Spec:
    return sandbox.Spec(
        root=sandbox.Overlay(lower=tuple(lower), upper=work / "upper", work=work / "work"),
        argv=("/bin/sh", "-c", layer.command),
        env=layer.env,
        mounts=(sandbox.Mount(target="/run/cogsmith/bin", source=work / "bin", readonly=True), *secrets),
        scratch=work / "sandbox",
        network=layer.network,
        ids="full",
        processes=PROCESSES,
    )


def _run(layer: RunLayer, *, spec: sandbox.Spec, name: str, report: Report, execution: Execution) -> None:
    hidden = [execution.secrets[secret.id] for secret in layer.secrets]
    with (
        Output(lambda line: report.note(f"{name} | {line}"), hidden=hidden) as output,
        sandbox.start(spec, stdin=sandbox.DEVNULL, stdout=output.writer, stderr=output.writer) as child,
    ):
        output.read()
        code = child.wait()
    if code == 0:
        return
    problem = failed(layer, code=code, tail=output.tail)
    if execution.debug_shell:
        report.warn(problem.brief)
        report.note("a shell in the state that it left; the build ends with the shell")
        with contextlib.suppress(KeyboardInterrupt):
            sandbox.run(_shell(spec))
    raise problem


def failed(layer: RunLayer, *, code: int, tail: Tail) -> BackendError:
    """The error for a command that ended with exit code `code`."""
    lines = [*tail.lines, f"ended with exit code {code}", f"command: /bin/sh -c {shlex.quote(layer.command)}"]
    return BackendError(
        f"a command of `build.run` failed: `{layer.command}`",
        details="\n".join(lines),
        hint="`cogsmith build --debug-shell` runs it again and opens a shell in the state that it leaves",
    )


def _shell(spec: sandbox.Spec) -> sandbox.Spec:
    return dataclasses.replace(spec, argv=("/bin/sh",), tty=True)


def why_run(layer: RunLayer, *, plan: Plan, store: Store) -> str:
    """In a few words, why the layer is not known: the first part of its key that differs from last time's."""
    memo = store.memo(_MEMO, _memo_key(layer))
    if memo is None:
        return "new"
    old, new = json.loads(memo), _parts(layer, plan=plan)
    for field in ("env", "secrets", "network", "epoch", "below"):  # what is below may well differ by the others
        if old.get(field) != new[field]:
            return _difference(field, old.get(field), new[field])
    return "its layer is gone"


def remember(layer: RunLayer, *, plan: Plan, store: Store) -> None:
    """Remember what the key of a layer was made of, for `why_run`."""
    store.remember(_MEMO, _memo_key(layer), json.dumps(_parts(layer, plan=plan)))


_MEMO = "executed"


def _memo_key(layer: RunLayer) -> str:
    return hashlib.sha256(layer.command.encode()).hexdigest()


def _parts(layer: RunLayer, *, plan: Plan) -> dict[str, Any]:
    titles = {chain_link(other): title(other) for other in plan.layers}
    parts: dict[str, Any] = to_plain(layer)
    del parts["reason"]
    parts["below"] = [[key, titles.get(key, "")] for key in layer.below]
    return parts


def _difference(field: str, old: Any, new: Any) -> str:
    if field == "below":
        before = {key for key, _ in old}
        changed = next((name for key, name in new if key not in before), "")
        return f"`{changed}` below it changed" if changed else "a layer below it is gone"
    if field == "env":
        was, now = dict(old), dict(new)
        names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        return f"the variable `{names[0]}` changed" if names else "the order of its variables changed"
    return {"secrets": "its secrets changed", "network": "its network changed", "epoch": "the epoch changed"}.get(
        field, f"its {field} changed"
    )
