"""Layers that a command makes: an executor runs the step, and the packer writes what it changed.

The same for every backend that executes; knows the key's parts and says which of them made a layer unknown.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import sandbox
from builder.backends import Execution
from builder.backends.output import Tail
from builder.backends.steps import Executed, Executor, Step, arguments, step_of
from builder.errors import BackendError, StoreError
from builder.layers.writer import Codec, Packed, piece_size, write_packed
from builder.layers.writer import Output as Blob
from builder.oci import PackedLayer
from builder.plan import Plan, RunLayer, chain_link, title, to_plain
from builder.report import Report
from builder.store import Store

PIPE_SIZE = 1 << 20


def pack_executed(
    layer: Executed,
    *,
    name: str,
    executor: Executor,
    below: Sequence[PackedLayer],
    inputs: Mapping[str, Path],
    plan: Plan,
    store: Store,
    out: Blob,
    codec: Codec,
    threads: int,
    report: Report,
    execution: Execution,
) -> Packed:
    """Have `executor` run the step of `layer` over the layers `below`, and write what it changed to `out`.

    `name` stands before each line of its output.  Raises `BackendError` when it fails, `SandboxError` where this
    machine cannot run it.
    """
    with _workplace(store) as work:
        given = work / "given"
        given.mkdir()
        given.chmod(0o755)
        step = step_of(layer, inputs=inputs, work=given, execution=execution)
        place = work / "step"
        place.mkdir()
        place.chmod(0o755)
        delta = executor.execute(
            step, name=name, below=below, plan=plan, work=place, store=store, report=report, execution=execution
        )
        return pack_delta(
            arguments(delta, epoch=layer.epoch, step=step),
            out=out,
            codec=codec,
            compression=plan.compression,
            threads=threads,
        )


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


def failed(step: Step, *, code: int, tail: Tail) -> BackendError:
    """The error for a step that ended with exit code `code`."""
    lines = [*tail.lines, f"ended with exit code {code}", f"command: {shlex.join(step.argv)}"]
    return BackendError(
        f"{step.what} failed: `{step.shown}`",
        details="\n".join(lines),
        hint="`cogsmith build --debug-shell` runs it again and opens a shell in the state that it leaves",
    )


def why_unknown(layer: Executed, *, plan: Plan, store: Store) -> str:
    """In a few words, why the layer is not known: the first part of its key that differs from last time's."""
    memo = store.memo(_MEMO, _memo_key(layer))
    if memo is None:
        return "new"
    old, new = json.loads(memo), _parts(layer, plan=plan)
    for field in ("debs", "env", "secrets", "network", "epoch", "below"):  # what is below may well differ by the others
        if old.get(field) != new.get(field):
            return _difference(field, old.get(field), new.get(field))
    return "its layer is gone"


def remember(layer: Executed, *, plan: Plan, store: Store) -> None:
    """Remember what the key of a layer was made of, for `why_unknown`."""
    store.remember(_MEMO, _memo_key(layer), json.dumps(_parts(layer, plan=plan)))


_MEMO = "executed"


def _memo_key(layer: Executed) -> str:
    name = layer.command if isinstance(layer, RunLayer) else f"packages {' '.join(layer.requested)}"
    return hashlib.sha256(name.encode()).hexdigest()


def _parts(layer: Executed, *, plan: Plan) -> dict[str, Any]:
    titles = {chain_link(other): title(other) for other in plan.layers}
    parts: dict[str, Any] = to_plain(layer)
    del parts["reason"]
    parts["below"] = [[key, titles.get(key, "")] for key in layer.below]
    parts["debs"] = [[deb["package"], deb["version"], deb["sha256"]] for deb in parts.get("debs", ())]
    return parts


def _difference(field: str, old: Any, new: Any) -> str:
    if field == "below":
        before = {key for key, _ in old}
        changed = next((name for key, name in new if key not in before), "")
        return f"`{changed}` below it changed" if changed else "a layer below it is gone"
    if field == "debs":
        before = {tuple(deb) for deb in old or ()}
        changed = next((deb[0] for deb in new if tuple(deb) not in before), "")
        return f"the package `{changed}` changed" if changed else "a package is gone from it"
    if field == "env":
        was, now = dict(old), dict(new)
        names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        return f"the variable `{names[0]}` changed" if names else "the order of its variables changed"
    return {"secrets": "its secrets changed", "network": "its network changed", "epoch": "the epoch changed"}.get(
        field, f"its {field} changed"
    )
