"""The layers of a plan into the store: the pure ones by the packer, the others by whoever executes steps.

What all backends that make layers in this process have in common; they differ in their `Executor` alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from builder import oci
from builder.backends import Execution, Fetch
from builder.backends.steps import Executed, Executor, check_secrets
from builder.codec import codec_for
from builder.engine.platform import MACHINES
from builder.errors import BackendError, LayerError
from builder.layers.pack import Packed, pack
from builder.oci import PackedLayer
from builder.plan import (
    BaseLayer,
    BytecodeLayer,
    Compiler,
    DebianLayer,
    FilesLayer,
    InterpreterLayer,
    Layer,
    Locked,
    PackagesLayer,
    Plan,
    RunLayer,
    RuntimeLayer,
    WheelsLayer,
    canonical_json,
    layer_key,
    title,
    to_plain,
)
from builder.report import Report
from builder.store import Store

if TYPE_CHECKING:
    from builder.backends.compilers import Compilers

LAYER_THREADS = 4
"""At most so many threads work on one layer, for several are made at once and each thread holds pieces of it."""


def make(
    plan: Plan,
    *,
    executor: Callable[[Execution], Executor],
    store: Store,
    local: Mapping[str, Path],
    fetch: Fetch,
    threads: int,
    report: Report,
    elsewhere: Container[str] = frozenset(),
    execution: Execution | None = None,
) -> Sequence[PackedLayer]:
    """Make the layers that the store lacks, at most `threads` at a time; the result is in the order of the plan.

    Steps run when all below them is there, one after the other; `executor` is asked for only if there are any.  See
    `Backend.make` for the other arguments.
    """
    execution = execution or Execution()
    layers = plan.layers
    made: dict[int, PackedLayer] = {}
    commands: list[int] = []
    for i in reversed(range(len(layers))):
        layer = layers[i]
        fresh = execution.fresh and isinstance(layer, Executed)
        # What a command is to run on must be here.
        found = None if fresh else _present(layer, plan=plan, store=store, elsewhere=() if commands else elsewhere)
        if found is not None:
            made[i] = found
        elif isinstance(layer, Executed):
            commands.insert(0, i)
    for i in commands:  # before any of them runs
        check_secrets(layers[i], execution=execution)
    runner = executor(execution) if commands else None
    if runner is not None:
        _check_steps(plan, executor=runner, store=store)
    # The largest first: the last layer to be made should not be the one that takes longest.
    unmade = (i for i in range(len(layers)) if i not in made and i not in commands)
    missing = sorted(unmade, key=lambda i: (-_size(layers[i]), i))
    _check_sandbox([layers[i] for i in missing])
    wanted = _wanted([layers[i] for i in (*missing, *commands)])
    remotes = [remote for remote in plan.remotes if remote.sha256 in wanted]
    fetched = fetch(remotes) if remotes else {}
    inputs = {**local, **fetched}
    with contextlib.ExitStack() as stack:
        compilers = _compilers([layers[i] for i in missing], inputs=inputs, store=store, stack=stack)

        def work(i: int) -> PackedLayer:
            return _make(
                layers[i],
                plan=plan,
                store=store,
                inputs=inputs,
                verified=fetched.keys(),
                threads=min(threads, LAYER_THREADS),
                report=report,
                compilers=compilers,
            )

        if len(missing) == 1:
            made[missing[0]] = work(missing[0])
        elif missing:
            made.update(_at_once(work, missing, threads=threads))
    for i in commands:
        assert runner is not None
        made[i] = _make_executed(
            i,
            executor=runner,
            made=made,
            inputs=inputs,
            plan=plan,
            store=store,
            threads=threads,
            report=report,
            execution=execution,
        )
    return [made[i] for i in range(len(layers))]


def _compilers(
    layers: Sequence[Layer], *, inputs: Mapping[str, Path], store: Store, stack: contextlib.ExitStack
) -> Compilers | None:
    """What compiles the bytecode layers among these, if there are any; it lives as long as `stack`."""
    bytecode = [layer for layer in layers if isinstance(layer, BytecodeLayer)]
    if not bytecode:
        return None
    from builder.backends.compilers import Compilers

    for layer in bytecode:
        if own_compiler(layer) is None:
            raise BackendError(
                f"bytecode is compiled by Python {layer.version}, and the lock names none that runs on this machine",
                hint="run `cogsmith lock` here, or leave the bytecode out with `--no-bytecode` (another digest)",
            )
    return Compilers(inputs=inputs, scratch=stack.enter_context(store.scratch()))


def _at_once(work: Callable[[int], PackedLayer], items: Sequence[int], *, threads: int) -> dict[int, PackedLayer]:
    import concurrent.futures  # slow to import, and when the code changed there is one layer to make

    with concurrent.futures.ThreadPoolExecutor(max_workers=threads) as pool:
        futures = {pool.submit(work, i): i for i in items}
        try:
            return {futures[future]: future.result() for future in concurrent.futures.as_completed(futures)}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_sandbox(layers: Sequence[Layer]) -> None:
    if any(isinstance(layer, DebianLayer) and layer.executed for layer in layers):
        from builder.backends import debootstrap

        problems = debootstrap.check()
        if problems:
            raise BackendError(
                "the Debian base must be configured in a sandbox",
                details="\n".join(problems),
                hint="put right what is listed; a base of another suite may do without a sandbox",
            )


def _check_steps(plan: Plan, *, executor: Executor, store: Store) -> None:
    with store.scratch() as scratch:
        problems = executor.check(plan, scratch=scratch)
    if problems:
        raise BackendError(
            "commands of `cog.yaml` cannot run on this machine",
            details="\n".join(problems),
            hint="put right what is listed, or choose another with `--backend`",
        )


def _make_executed(
    number: int,
    *,
    executor: Executor,
    made: Mapping[int, PackedLayer],
    inputs: Mapping[str, Path],
    plan: Plan,
    store: Store,
    threads: int,
    report: Report,
    execution: Execution,
) -> PackedLayer:
    from builder.backends import executed

    layer = plan.layers[number]
    assert isinstance(layer, Executed)
    name = step_name(number, plan=plan)
    if not execution.fresh:
        report.note(f"{name}: not in the cache: {executed.why_unknown(layer, plan=plan, store=store)}")
    with store.writer(hashing=False) as out:
        packed = executed.pack_executed(
            layer,
            name=name,
            executor=executor,
            below=[made[i] for i in range(number)],
            inputs=inputs,
            plan=plan,
            store=store,
            out=out,
            codec=codec_for(plan.codec, plan.compression),
            threads=min(threads, LAYER_THREADS),
            report=report,
            execution=execution,
        )
        out.commit(packed.digest)
    executed.remember(layer, plan=plan, store=store)
    return _recorded(layer, packed=packed, plan=plan, store=store, report=report)


def step_name(number: int, *, plan: Plan) -> str:
    """What stands before each line of the output of layer `number` of `plan`: `run 2/3`, or `apt`."""
    if isinstance(plan.layers[number], PackagesLayer):
        return "apt"
    commands = [i for i, layer in enumerate(plan.layers) if isinstance(layer, RunLayer)]
    return f"run {commands.index(number) + 1}/{len(commands)}"


def _present(layer: Layer, *, plan: Plan, store: Store, elsewhere: Container[str]) -> PackedLayer | None:
    """The layer, if nothing need be made: a base's layer always, ours if the store has its blob, or who gets it has."""
    if isinstance(layer, BaseLayer):
        return PackedLayer(digest=layer.digest, diff_id=layer.diff_id, size=layer.size, media_type=layer.media_type)
    key = layer_key(layer, compression=plan.compression, codec=plan.codec)
    found = store.layer(key)
    if found is not None and (
        not isinstance(layer, BytecodeLayer) or store.memo(_COMPILED, _by(layer, key=key)) == found.digest
    ):
        return found
    locked = _locked(plan, key)
    if locked is None:
        return None
    if not store.has_blob(locked.digest) and locked.digest not in elsewhere:
        return None
    # Not recorded: a lock speaks for its own project, and a key is every project's.
    return PackedLayer(
        digest=locked.digest,
        diff_id=locked.diff_id,
        size=locked.size,
        media_type=oci.LAYER_MEDIA_TYPES[plan.compression],
    )


def _locked(plan: Plan, key: str) -> Locked | None:
    return next((locked for locked in plan.locked if locked.key == key), None)


def _wanted(layers: Sequence[Layer]) -> set[str]:
    """sha256 of the downloads that these layers are made from."""
    return {sha256 for layer in layers for sha256 in wanted_downloads(layer)}


def wanted_downloads(layer: Layer) -> set[str]:
    """sha256 of the downloads that a layer is made from."""
    match layer:
        case DebianLayer() | PackagesLayer():
            return {deb.sha256 for deb in layer.debs}
        case WheelsLayer() | RuntimeLayer():
            return {wheel.sha256 for wheel in layer.wheels}
        case InterpreterLayer():
            return {layer.sha256}
        case BytecodeLayer():
            return wanted_downloads(layer.of) | _compiler_files(layer)
        case FilesLayer() | BaseLayer() | RunLayer():
            return set()
        case _:
            assert_never(layer)


def _compiler_files(layer: BytecodeLayer) -> set[str]:
    compiler = own_compiler(layer)
    if compiler is None:
        return set()
    archive = {compiler.archive.sha256} if compiler.archive else set()
    return archive | {deb.sha256 for deb in compiler.debs}


def own_compiler(layer: BytecodeLayer) -> Compiler | None:
    """What of the plan can compile `layer` on this machine, if anything."""
    system = os.uname()
    own = MACHINES.get(system.machine) if system.sysname == "Linux" else None
    return next((compiler for compiler in layer.compilers if compiler.architecture == own), None)


def _size(layer: Layer) -> int:
    """Bytes of the files that a layer is made from."""
    match layer:
        case DebianLayer() | PackagesLayer():
            return sum(deb.size for deb in layer.debs)
        case WheelsLayer() | RuntimeLayer():
            return sum(wheel.size for wheel in layer.wheels)
        case InterpreterLayer():
            return layer.size
        case BytecodeLayer():
            return _size(layer.of)
        case FilesLayer():
            return sum(entry.size for entry in layer.entries)
        case BaseLayer():
            return layer.size
        case RunLayer():
            return 0
        case _:
            assert_never(layer)


def _make(
    layer: Layer,
    *,
    plan: Plan,
    store: Store,
    inputs: Mapping[str, Path],
    verified: Container[str],
    threads: int,
    report: Report,
    compilers: Compilers | None = None,
) -> PackedLayer:
    key = layer_key(layer, compression=plan.compression, codec=plan.codec)
    # With gzip, wheels bring their own deflate streams, and files are stored.
    compressed = plan.compression == "zstd" or isinstance(layer, BytecodeLayer | DebianLayer | InterpreterLayer)
    codec = codec_for(plan.codec, plan.compression if compressed else "plain")
    with store.scratch() as scratch, store.writer(hashing=False) as out:  # the packer hashes what it writes
        if isinstance(layer, DebianLayer) and layer.executed:
            from builder.backends import debootstrap

            report.warn(layer.reason)
            packed = debootstrap.pack_executed(
                layer,
                inputs=inputs,
                out=out,
                codec=codec,
                compression=plan.compression,
                threads=threads,
                report=report,
                scratch=scratch,
            )
        else:
            compile_with = None
            if isinstance(layer, BytecodeLayer) and compilers is not None:
                compile_with = compilers.of(layer, compiler=own_compiler(layer))
            packed = pack(
                to_plain(layer),
                inputs=inputs,
                out=out,
                codec=codec,
                compression=plan.compression,
                threads=threads,
                verified=verified,
                scratch=scratch,
                compile_with=compile_with,
                progress=lambda done: report.advance(f"packing {title(layer)}", done, 0),
            )
            report.advance(f"packing {title(layer)}", packed.size, packed.size)
        locked = _locked(plan, key)
        if locked is not None and locked.digest != packed.digest:
            raise LayerError(
                f"the layer `{title(layer)}` came out as {packed.digest}, but the lock says {locked.digest}",
                hint="the lock was made by another release of Cogsmith: run `cogsmith lock` again",
            )
        out.commit(packed.digest)
    return _recorded(layer, packed=packed, plan=plan, store=store, report=report)


def _recorded(layer: Layer, *, packed: Packed, plan: Plan, store: Store, report: Report) -> PackedLayer:
    result = PackedLayer(
        digest=packed.digest,
        diff_id=packed.diff_id,
        size=packed.size,
        media_type=oci.LAYER_MEDIA_TYPES[plan.compression],
    )
    key = layer_key(layer, compression=plan.compression, codec=plan.codec)
    store.record_layer(key, result)
    if isinstance(layer, BytecodeLayer):
        store.remember(_COMPILED, _by(layer, key=key), result.digest)
    report.note(f"made {result.digest[7:19]} {title(layer)}")
    return result


_COMPILED = "compiled"


def _by(layer: BytecodeLayer, *, key: str) -> str:
    """The key and what compiles: a lock names that, and what comes of one project's is not for those of others."""
    names = [to_plain(compiler) for compiler in layer.compilers]
    return f"{key} {hashlib.sha256(canonical_json(names)).hexdigest()}"
