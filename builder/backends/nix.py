"""The Nix backend: every pure layer by the packer in Nix's sandbox, proved by its digest; the image is a store path.

Runs no command: a layer that comes from one is taken by its digest, from the local store, a registry or a binary cache;
or, with system packages whose maintainer scripts are all known, made to that digest.
`nix/default.nix` says how each part is made; this decides what the store must be given, and reads what comes out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import builder
from builder import oci, process
from builder.backends import Execution, Fetch, nix_tool
from builder.backends.making import wanted_downloads
from builder.backends.nix_document import document, folder_of, is_executed
from builder.backends.nix_failure import explained
from builder.backends.nix_modelled import why_not_modelled
from builder.backends.nix_paths import LAYER
from builder.backends.nix_seeding import Tools, tools
from builder.backends.nix_tool import Tool
from builder.errors import BackendError
from builder.oci import PackedLayer
from builder.plan import BaseLayer, FilesLayer, Locked, Plan, RuntimeLayer, layer_key, title
from builder.report import Report
from builder.store import Store


def check(plan: Plan) -> Sequence[str]:
    """What this machine lacks; an executed layer that is nowhere to be had shows in `make`."""
    del plan
    missing = nix_tool.problems()
    if not (expressions() / "default.nix").is_file():
        missing.append(f"`{expressions()}` is missing: install cogsmith again")
    return missing


def expressions() -> Path:
    """The folder `nix/`, beside `builder/`."""
    return Path(builder.__file__).parents[1] / "nix"


def make(
    plan: Plan,
    *,
    store: Store,
    local: Mapping[str, Path],
    fetch: Fetch,
    threads: int,
    report: Report,
    elsewhere: Container[str] = frozenset(),
    execution: Execution | None = None,
) -> Sequence[PackedLayer]:
    """Have Nix make the image of `plan`, and take its layers into `store`, as hard links where that can be.

    See `Backend.make`; a layer of a base image is in neither.
    """
    del threads  # Nix's own affair
    execution = execution or Execution()
    settings = execution.settings
    tool = nix_tool.find(settings, store=store, report=report)
    known = _known(plan, store=store)
    absent = _supply(plan, tool=tool, known=known, store=store, fetch=fetch, elsewhere=elsewhere)
    running = tools(plan, tool=tool, store=store, fetch=fetch, execution=execution, report=report)
    out = _build(plan, tool=tool, running=running, known=known, absent=absent, local=local, store=store)
    layers = _read(plan, tool.physical(out), absent=absent, store=store, report=report)
    _keep(plan, out, layers=layers, running=running, tool=tool, store=store)
    report.note(f"nix: {tool.physical(out)}")
    return layers


def deliver(image: object, *, store: Store, report: Report, fetch: object = None) -> None:
    """Nothing: the image is a store path already, which `make` has told."""
    del image, store, report, fetch


def _known(plan: Plan, *, store: Store) -> dict[str, Locked]:
    """What layers must come out as, by key: what the lock says; of executed ones, what they came out as here."""
    known = {locked.key: locked for locked in plan.locked}
    unknown = []
    for layer in plan.layers:
        key = layer_key(layer, compression=plan.compression, codec=plan.codec)
        if not is_executed(layer) or key in known:
            continue
        packed = store.layer(key)
        if packed is None:
            unknown.append(title(layer))
        else:
            known[key] = Locked(key=key, digest=packed.digest, diff_id=packed.diff_id, size=packed.size)
    if unknown:
        raise _nowhere(unknown)
    return known


def _nowhere(titles: Sequence[str]) -> BackendError:
    what = "a layer that comes" if len(titles) == 1 else f"{len(titles)} layers that come"
    return BackendError(
        f"the image has {what} from a command, which Nix does not run",
        details="\n".join(titles),
        hint="`cogsmith build --backend embedded` makes it, here or elsewhere; `--backend nix` takes it from the local"
        " store, from the registry of `--cache-repo`, or, by a lock that has its digest, from a `--nix-cache`",
    )


def _supply(
    plan: Plan,
    *,
    tool: Tool,
    known: Mapping[str, Locked],
    store: Store,
    fetch: Fetch,
    elsewhere: Container[str],
) -> list[str]:
    """Give the Nix store what it needs and cannot make: layers that are here, and the inputs of those that are not.

    Returns the digests that are left out of the layout.
    """
    pairs = [(layer, layer_key(layer, compression=plan.compression, codec=plan.codec)) for layer in plan.layers]
    locked = {key: known[key] for _, key in pairs if key in known}
    paths = {key: tool.flat(LAYER, one.digest[7:]) for key, one in locked.items()}
    missing = tool.missing(sorted(set(paths.values()))) if paths else set()
    if missing and tool.caches:
        tool.substitute(sorted(missing))
        missing = tool.missing(sorted(missing))
    here: dict[str, tuple[str, Path]] = {}
    wanted: set[str] = set()
    absent: list[str] = []
    nowhere: list[str] = []
    for layer, key in pairs:
        if isinstance(layer, BaseLayer) or (key in paths and paths[key] not in missing):
            continue
        digest = locked[key].digest if key in locked else ""
        if digest and store.has_blob(digest):
            here[paths[key]] = (LAYER, store.blob_path(digest))
        elif digest and digest in elsewhere:
            absent.append(digest)
        elif is_executed(layer):
            reason = why_not_modelled(plan, layer, fetch=fetch) if digest else "no digest"
            if reason:
                nowhere.append(f"{title(layer)} ({reason})" if digest else title(layer))
            else:
                wanted |= wanted_downloads(layer) | wanted_downloads(plan.layers[0])
        else:
            wanted |= wanted_downloads(layer)
    if nowhere:
        raise _nowhere(nowhere)
    tool.add(here, store=store)
    inputs = {tool.flat(r.name, r.sha256): r for r in plan.remotes if r.sha256 in wanted}
    lacking = tool.missing(sorted(inputs)) if inputs else set()
    remotes = [inputs[path] for path in sorted(lacking)]
    fetched = fetch(remotes) if remotes else {}
    tool.add({path: (inputs[path].name, fetched[inputs[path].sha256]) for path in sorted(lacking)}, store=store)
    return absent


def _build(
    plan: Plan,
    *,
    tool: Tool,
    running: Tools,
    known: Mapping[str, Locked],
    absent: Sequence[str],
    local: Mapping[str, Path],
    store: Store,
) -> str:
    """The store path of the image."""
    project = [entry for layer in plan.layers if isinstance(layer, FilesLayer) for entry in layer.entries]
    runtime = [entry for layer in plan.layers if isinstance(layer, RuntimeLayer) for entry in layer.files]
    with store.scratch() as scratch:
        data = scratch / "plan.json"
        data.write_text(json.dumps(document(plan, known=known)), encoding="utf-8")
        arguments = {
            "plan": str(data),
            "src": str(folder_of(project, local=local, draft=scratch / "src")),
            "runtime": str(folder_of(runtime, local=local, draft=scratch / "runtime")),
            "seed": running.seed,
            "codec": running.codec,
        }
        words = [str(expressions() / "default.nix"), "--attr", "image", "--no-out-link"]
        for name, value in arguments.items():
            words += ["--argstr", name, value] if value else []
        if absent:
            words += ["--arg", "absent", "[ " + " ".join(f'"{digest}"' for digest in absent) + " ]"]
        command = tool.argv("nix-build", *words)
        code, output, errors = process.attempt(command)
    if code:
        raise explained(plan, command=command, code=code, errors=errors, known=known, tool=tool)
    return output.decode().split()[-1]


def _read(plan: Plan, folder: Path, *, absent: Container[str], store: Store, report: Report) -> tuple[PackedLayer, ...]:
    """The layers of the layout in `folder`, all but the absent ones and the base's taken into the store."""

    def read(digest: str) -> Any:
        return json.loads((folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes())

    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    manifest = read(entry["digest"])
    diff_ids = read(manifest["config"]["digest"])["rootfs"]["diff_ids"]
    layers = tuple(
        PackedLayer(digest=one["digest"], diff_id=diff_id, size=one["size"], media_type=one["mediaType"])
        for one, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    )
    named = {locked.key for locked in plan.locked}
    for layer, packed in zip(plan.layers, layers, strict=True):
        if isinstance(layer, BaseLayer) or packed.digest in absent:
            continue
        key = layer_key(layer, compression=plan.compression, codec=plan.codec)
        if not store.has_blob(packed.digest):
            blob = (folder / "blobs" / "sha256" / packed.digest.removeprefix("sha256:")).resolve()
            store.adopt(blob, packed.digest)
            report.note(f"made {packed.digest[7:19]} {title(layer)}")
        if key not in named:  # what one project's lock says is nothing to others
            store.record_layer(key, packed)
    return layers


def _keep(plan: Plan, out: str, *, layers: Sequence[PackedLayer], running: Tools, tool: Tool, store: Store) -> None:
    """Keep the image from Nix's garbage collector for as long as Cogsmith's store has its manifest."""
    roots = store.root / "nix" / "roots" / hashlib.sha256(tool.place.encode()).hexdigest()[:12]
    comments = [title(layer) for layer in plan.layers]
    config = oci.image_config(plan.config, platform=plan.platform, epoch=plan.epoch, layers=layers, comments=comments)
    manifest = oci.image_manifest(config.descriptor, layers=layers, annotations=plan.config.annotations)
    digest = manifest.descriptor.digest
    if not (tool.physical(out) / "blobs" / "sha256" / digest[7:]).is_file():
        raise BackendError(
            "the image that Nix made is not the one that the plan describes",
            details=f"expected {digest} in {tool.physical(out)}",
            hint="`nix/` and `builder/` are of different releases: install cogsmith again",
        )
    if roots.is_dir():
        for link in roots.iterdir():
            if len(link.name) == 64 and link.name != digest[7:] and not store.has_blob(f"sha256:{link.name}"):
                link.unlink()
    wanted = {digest[7:]: out, "seed": running.seed, **({"codec": running.codec} if running.codec else {})}
    for name, path in wanted.items():
        if not (roots / name).is_symlink() or str((roots / name).readlink()) != path:
            tool.root(path, link=roots / name)
