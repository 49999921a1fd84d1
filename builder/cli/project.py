"""From a folder with a `cog.yaml` to a plan and an image: the steps that several commands share."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import __version__, config
from builder.backends import assemble, backend
from builder.cli.console import Console
from builder.cli.settings import APT_SOURCES, Settings
from builder.compile import compile_plan
from builder.config import Config
from builder.errors import BackendError, ConfigError, LockError
from builder.lock import FILE_NAME, Lock, dumps, loads
from builder.oci import PackedLayer
from builder.plan import Compression, Plan, canonical_json
from builder.store import Store, StoredImage

MAX_PARENTS = 100
INDEX_VARIABLES = ("PIP_", "UV_")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project on disk: its folder, its configuration, and the text of its requirements."""

    root: Path
    config: Config
    requirements: str

    @property
    def lock_path(self) -> Path:
        """Where the lock file is, or would be."""
        return self.root / FILE_NAME

    @property
    def hash(self) -> str:
        """What a lock answers to."""
        return config.config_hash(self.config, self.requirements)


def find(start: Path, *, file: str = config.FILE_NAME) -> Project:
    """The project of `start` or of the nearest folder above it that holds `file`."""
    begin = start.resolve()
    if not begin.is_dir():
        raise ConfigError(f"`{start}` is not a folder", hint="name the folder that holds `cog.yaml`")
    for folder in (begin, *list(begin.parents)[:MAX_PARENTS]):
        if (folder / file).is_file():
            break
    else:
        raise ConfigError(
            f"{file} not found in {begin} (or in any parent directories)",
            hint='change to the project\'s folder, or begin with one: `build: {python_version: "3.13"}` and '
            '`run: "run.py:Runner"`',
        )
    path = folder / file
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}", hint="it must be UTF-8 text") from problem
    loaded = config.load(text, path=path)
    refused = config.unsupported(loaded)
    if refused:
        raise ConfigError(
            f"`{path}` asks for what this release cannot build yet",
            details="\n".join(refused),
            hint="take these out, or put them into an image of your own and name it in `build.base_image`",
        )
    return Project(root=folder, config=loaded, requirements=_requirements(loaded, root=folder))


def _requirements(loaded: Config, *, root: Path) -> str:
    if loaded.python_requirements is None:
        return "".join(f"{line}\n" for line in loaded.python_packages)
    path = root / loaded.python_requirements
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as problem:
        raise ConfigError(
            f'invalid build.python_requirements "{loaded.python_requirements}": file does not exist',
            hint=f"create `{path}`, or correct the name in `cog.yaml`",
        ) from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}", hint="it must be UTF-8 text") from problem


def read_lock(project: Project) -> Lock | None:
    """The lock file of the project, if there is one."""
    try:
        text = project.lock_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise LockError(f"could not read `{project.lock_path}`: {problem}", hint="run `cogsmith lock`") from problem
    return loads(text)


def resolve(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    platform: str,
    console: Console,
    keep: Mapping[str, str] | None = None,
) -> Lock:
    """Resolve the project afresh, and remember the result in the store.

    `keep` maps names to versions that stay as they are where the requirements still allow it.
    """
    from builder.resolve.debian import host_mirrors
    from builder.resolve.project import World
    from builder.resolve.project import resolve as resolve_project

    mirrors = settings.mirrors or tuple(host_mirrors(APT_SOURCES))
    world = World(store=store, env=settings.env, mirrors=mirrors, report=console)
    lock = resolve_project(
        project.config,
        project=project.root,
        requirements=project.requirements,
        platform=platform,
        world=world,
        keep=keep or {},
    )
    store.remember("resolution", _resolution_key(project, settings=settings, platform=platform), dumps(lock))
    return lock


def _resolution_key(project: Project, *, settings: Settings, platform: str) -> str:
    indexes = sorted((k, v) for k, v in settings.env.items() if k.startswith(INDEX_VARIABLES))
    parts: list[Any] = [project.hash, platform, __version__, settings.mirrors, indexes, os.fspath(project.root)]
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def get_lock(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    platform: str,
    console: Console,
    locked: bool = False,
    fresh: bool = False,
) -> Lock:
    """The lock to build from: the project's own, else what was resolved before, else a new resolution (and says so).

    `locked` refuses anything but a lock file that answers the configuration; `fresh` passes over what was resolved
    before.
    """
    lock = read_lock(project)
    if lock is not None:
        stale = why_stale(lock, project=project, platform=platform)
        if not stale:
            return lock
        if locked:
            raise LockError(f"`{FILE_NAME}` is stale", details="\n".join(stale), hint="run `cogsmith lock`")
        console.warn(f"{FILE_NAME} is stale ({'; '.join(stale)}): not used; `cogsmith lock` renews it")
    elif locked:
        raise LockError(f"there is no `{FILE_NAME}` in {project.root}", hint="run `cogsmith lock`")
    if not fresh:
        memo = store.memo("resolution", _resolution_key(project, settings=settings, platform=platform))
        if memo is not None:
            if lock is None:
                console.note(f"no {FILE_NAME}: using what was resolved before (--no-cache resolves afresh)")
            return loads(memo)
    if lock is None:
        console.note(f"no {FILE_NAME}: resolving afresh (`cogsmith lock` pins the result)")
    return resolve(project, settings=settings, store=store, platform=platform, console=console)


def why_stale(lock: Lock, *, project: Project, platform: str) -> list[str]:
    """Each way in which `lock` does not answer the project; empty when it does."""
    reasons = []
    if lock.config_hash != project.hash:
        reasons.append("cog.yaml or the requirements changed")
    if lock.platform != platform:
        reasons.append(f"it is for {lock.platform}, not {platform}")
    if lock.runtime_version != __version__:
        reasons.append(f"it was made by cogsmith {lock.runtime_version}, this is {__version__}")
    return reasons


def get_plan(
    project: Project, *, lock: Lock, settings: Settings, store: Store, compression: Compression, with_code: bool = True
) -> tuple[Plan, Mapping[str, Path]]:
    """The plan of the project, and where on this disk each file is that needs no download (sha256 → path)."""
    from builder.resolve.runtime import runtime_files
    from builder.resolve.source import scan, split_large

    runtime, local = runtime_files(hash_file=store.hash_file)
    paths = dict(local)
    code: tuple[Any, ...] = ()
    large: tuple[Any, ...] = ()
    document: Mapping[str, Any] | None = None
    if with_code:
        source = scan(project.root, hash_file=store.hash_file)
        code, large = split_large(source)
        paths |= {entry.sha256: project.root / entry.path for entry in source.entries if entry.type == "file"}
        document = _schema(project)
    plan = compile_plan(
        project.config,
        lock=lock,
        code=code,
        large=large,
        runtime=runtime,
        schema=document,
        version=__version__,
        epoch=settings.epoch,
        compression=compression,
    )
    return plan, paths


def _schema(project: Project) -> Mapping[str, Any] | None:
    if not project.config.run and not project.config.train:
        return None
    from builder import schema

    return schema.document(project.root, run=project.config.run, train=project.config.train, version=__version__)


def make_layers(
    plan: Plan, *, local: Mapping[str, Path], backend_name: str, settings: Settings, store: Store, console: Console
) -> Sequence[PackedLayer]:
    """Have the layers of a plan made by the backend of that name, after it has said all that it lacks."""
    chosen = backend(backend_name)
    missing = chosen.check(plan)
    if missing:
        raise BackendError(f"the backend `{backend_name}` cannot build this here", details="\n".join(missing))
    return chosen.make(plan, store=store, local=local, threads=settings.threads, report=console)


def build_project(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    console: Console,
    tag: str | None = None,
    platform: str | None = None,
    compression: Compression = "gzip",
    backend_name: str | None = None,
    locked: bool = False,
    fresh: bool = False,
) -> StoredImage:
    """Config to image, all the way."""
    wanted = platform or settings.platform
    lock = get_lock(
        project, settings=settings, store=store, platform=wanted, console=console, locked=locked, fresh=fresh
    )
    plan, local = get_plan(project, lock=lock, settings=settings, store=store, compression=compression)
    layers = make_layers(
        plan,
        local=local,
        backend_name=backend_name or settings.backend,
        settings=settings,
        store=store,
        console=console,
    )
    return assemble.image(plan, layers=layers, store=store, name=tag or image_name(project))


def image_name(project: Project) -> str:
    """The name an image gets when none is given: `image` of the configuration, else made from the folder's name."""
    if project.config.image:
        return project.config.image
    kept = project.root.name.lower().replace(" ", "-")
    kept = "".join(c for c in kept if c in "abcdefghijklmnopqrstuvwxyz0123456789-")
    name = kept if kept.startswith("cog-") else f"cog-{kept}"
    return name[:30].rstrip("-")
