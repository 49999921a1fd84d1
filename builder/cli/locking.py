"""Which lock a build uses: the project's file, else what was resolved before, else a new resolution."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from builder import __version__
from builder.cli import wheelhouse
from builder.cli.asking import opener
from builder.cli.console import Console
from builder.cli.project import Project
from builder.cli.settings import Settings, debian_mirrors
from builder.config import Config
from builder.errors import CogsmithError, LockError
from builder.lock import FILE_NAME, ImageBase, Lock, dumps, loads, quick
from builder.plan import canonical_json
from builder.store import Store

INDEX_VARIABLES = ("PIP_", "UV_", "COGSMITH_TORCH_INDEX")
_KIND = "resolution"
_PARSED = "lock"


def read_text(project: Project) -> str | None:
    """The text of the lock file, if there is one."""
    try:
        return project.lock_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise LockError(f"could not read `{project.lock_path}`: {problem}", hint="run `cogsmith lock`") from problem


def read_lock(project: Project) -> Lock | None:
    """The lock file of the project, if there is one."""
    text = read_text(project)
    return None if text is None else loads(text, folder=project.root)


def parse(text: str, *, project: Project, store: Store) -> Lock:
    """The lock in `text`, which is parsed and validated once, and remembered."""
    key = hashlib.sha256(canonical_json([__version__, os.fspath(project.root), text])).hexdigest()
    memo = store.memo(_PARSED, key)
    if memo is not None:
        with contextlib.suppress(KeyError, TypeError):  # another build of this release remembered other fields
            return quick.loads(memo)
    lock = loads(text, folder=project.root)
    store.remember(_PARSED, key, quick.dumps(lock))
    return lock


def default_platform(project: Project, *, settings: Settings, store: Store) -> str:
    """The platform of the lock file, if there is one; else the default."""
    text = read_text(project)
    if text is None:
        return preferred_platform(project, settings=settings)
    return parse(text, project=project, store=store).platform


def preferred_platform(project: Project, *, settings: Settings) -> str:
    """What `COGSMITH_PLATFORM` says, else the first of `build.platforms`, else the default."""
    platforms = project.config.platforms
    return platforms[0] if platforms and not settings.env.get("COGSMITH_PLATFORM") else settings.platform


def known_text(project: Project, *, settings: Settings, store: Store, platform: str, locked: bool) -> str | None:
    """The lock's text where nothing need be resolved: the file's, else (unless `locked`) what was resolved before."""
    text = read_text(project)
    if text is None and not locked and not _has_local_base(project):
        text = store.memo(_KIND, _key(project, settings=settings, platform=platform))
    return text


def get_lock(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    platform: str,
    console: Console,
    locked: bool = False,
    fresh: bool = False,
) -> tuple[Lock, str]:
    """The lock to build from and its text; a word to the user where it is not the project's own file.

    `locked` refuses anything but a lock file that answers the configuration; `fresh` passes over what was resolved
    before.
    """
    text = read_text(project)
    lock = None if text is None else parse(text, project=project, store=store)
    if text is not None and lock is not None:
        stale = why_stale(lock, project=project, platform=platform, store=store)
        if not stale:
            return lock, text
        if locked:
            raise LockError(f"`{FILE_NAME}` is stale", details="\n".join(stale), hint="run `cogsmith lock`")
        console.warn(f"{FILE_NAME} is stale ({'; '.join(stale)}): not used; `cogsmith lock` renews it")
    elif locked:
        raise LockError(f"there is no `{FILE_NAME}` in {project.root}", hint="run `cogsmith lock`")
    if not fresh:
        memo = store.memo(_KIND, _key(project, settings=settings, platform=platform))
        known = None if memo is None else parse(memo, project=project, store=store)
        if memo is not None and known is not None and not _moved(known, project=project, store=store):
            if lock is None:
                console.note(f"no {FILE_NAME}: using what was resolved before (--no-cache resolves afresh)")
            return known, memo
    if lock is None:
        console.note(f"no {FILE_NAME}: resolving afresh (`cogsmith lock` pins the result)")
    lock = resolve(project, settings=settings, store=store, platform=platform, console=console)
    return lock, dumps(lock, folder=project.root)


def resolve(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    platform: str,
    console: Console,
    keep: Mapping[str, str] | None = None,
    base: Lock | None = None,
    moving: Collection[str] = (),
) -> Lock:
    """Resolve the project afresh, and remember the result in the store.

    `keep` maps names to versions that stay as they are where the requirements still allow it; with `base`, its base
    and interpreter stay, if they answer the configuration, and its system packages but for those in `moving`.
    """
    from builder.resolve.project import World
    from builder.resolve.project import resolve as resolve_project

    mirrors = debian_mirrors(settings)
    world = World(
        store=store,
        env=settings.env,
        mirrors=mirrors,
        now=dt.datetime.now(dt.UTC),
        report=console,
        ubuntu=settings.ubuntu_mirrors,
        open_image=opener(settings=settings, store=store, platform=platform, console=console),
        open_builder=wheelhouse.opener(settings=settings, store=store, console=console, texts=[project.requirements]),
    )
    lock = resolve_project(
        project.config,
        project=project.root,
        requirements=project.requirements,
        platform=platform,
        world=world,
        keep=keep or {},
        old=base,
        moving=moving,
    )
    text = dumps(lock, folder=project.root)
    store.remember(_KIND, _key(project, settings=settings, platform=platform), text)
    return lock


def _key(project: Project, *, settings: Settings, platform: str) -> str:
    """What a remembered resolution depends on, besides the world: the project, this release, the index settings."""
    from builder.resolve.indexes import settings_files

    files = []
    for path in settings_files(settings.env):
        if path.is_file():
            stat = path.stat()
            files.append([os.fspath(path), stat.st_size, stat.st_mtime_ns])
    indexes = sorted((k, v) for k, v in settings.env.items() if k.startswith(INDEX_VARIABLES))
    root = os.fspath(project.root)
    parts: list[Any] = [project.hash, platform, __version__, settings.mirrors, indexes, files, root]
    if project.config.system_packages:
        parts.append(settings.ubuntu_mirrors)
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def _has_local_base(project: Project) -> bool:
    reference = project.config.base_image or ""
    return reference.startswith(("oci:", "oci-archive:", "docker-archive:"))


def _moved(lock: Lock, *, project: Project, store: Store) -> list[str]:
    """What a resolution took from this disk and is not there as it was: a wheel that was built again, a base."""
    moved = _changed_sources(lock, project=project, store=store)
    for remote in lock.remotes:
        paths = [_local(url) for url in remote.urls]
        if paths and not any(path is None or _is(path, sha256=remote.sha256, store=store) for path in paths):
            moved.append(f"`{remote.name}` changed or is gone")
    if _has_local_base(project):
        moved.append("the base is a local one")
    return moved


def _changed_sources(lock: Lock, *, project: Project, store: Store) -> list[str]:
    """The archives and folders of the project that wheels were built from, and that are others now."""
    return [
        f"`{item.url}` in the project changed"
        for item in lock.built
        if item.source_sha256
        and "://" not in item.url
        and not _is(project.root / item.url, sha256=item.source_sha256, store=store)
    ]


def _local(url: str) -> Path | None:
    """The path that a remote's URL names on this disk, if it does."""
    if url.startswith("file:"):
        return Path(unquote(urlsplit(url).path))
    return None if "://" in url else Path(url)


def _is(path: Path, *, sha256: str, store: Store) -> bool:
    try:
        if path.is_dir():
            from builder.resolve.unbuilt import hash_folder

            return hash_folder(path, store=store) == sha256
        return store.hash_file(path, path.stat()) == sha256
    except (OSError, CogsmithError):
        return False


def why_stale(lock: Lock, *, project: Project, platform: str, store: Store | None = None) -> list[str]:
    """Each way in which `lock` does not answer the project; empty when it does."""
    reasons = []
    if lock.config_hash != project.hash:
        reasons.append(_other_base(lock, project=project) or "cog.yaml or the requirements changed")
    if lock.platform != platform:
        reasons.append(f"it is for {lock.platform}, not {platform}")
    if lock.runtime_version != __version__:
        reasons.append(f"it was made by cogsmith {lock.runtime_version}, this is {__version__}")
    elif store is not None and lock.runtime_build != _build_id(store):
        reasons.append(f"it was made by another build of cogsmith {__version__}, with another runtime")
    if store is not None:
        reasons += _changed_inside(lock, project=project, store=store)
    return reasons


def _other_base(lock: Lock, *, project: Project) -> str:
    """Why a lock is for the same project on another base, if that is all; which one the command line says."""
    own = project.config
    named = lock.base.reference if isinstance(lock.base, ImageBase) else None
    words = {None: "without `--base`", True: "with `--base cuda`", False: "with `--base debian`"}
    for wish, text in words.items():
        if _hash(project, dataclasses.replace(own, cuda_base=wish)) == lock.config_hash:
            return f"it was locked {text}, and that is not what is asked for here"
    if named and _hash(project, dataclasses.replace(own, base_image=named, cuda_base=None)) == lock.config_hash:
        return f"it was locked on {named}: give `--use-cog-base-image` here, too"
    if _hash(project, dataclasses.replace(own, base_image=None)) == lock.config_hash:
        return "it was locked without `--use-cog-base-image`"
    return ""


def _hash(project: Project, config: Config) -> str:
    return dataclasses.replace(project, config=config).hash


def _build_id(store: Store) -> str:
    from builder.resolve.runtime import build_id, runtime_files

    return build_id(runtime_files(hash_file=store.hash_file)[0])


def _changed_inside(lock: Lock, *, project: Project, store: Store) -> list[str]:
    """The wheels of the project itself that changed; those of other folders are looked for when they are needed."""
    own = os.fspath(project.root) + os.sep
    return _changed_sources(lock, project=project, store=store) + [
        f"`{remote.name}` in the project changed"
        for remote in lock.remotes
        for path in map(_local, remote.urls)
        if path is not None and os.fspath(path).startswith(own) and not _is(path, sha256=remote.sha256, store=store)
    ]
