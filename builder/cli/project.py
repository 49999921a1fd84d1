"""From a folder with a `cog.yaml` to a plan and its layers: the steps that several commands share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import __version__, config
from builder.cli.console import Console
from builder.cli.options import BuildOptions
from builder.cli.settings import Settings, debian_mirrors
from builder.config import Config
from builder.errors import BackendError, ConfigError, SchemaError
from builder.frozen import frozen
from builder.lock import FILE_NAME as LOCK_NAME
from builder.lock import Lock
from builder.oci import PackedLayer
from builder.plan import DebianLayer, Entry, PackagesLayer, Plan, Remote
from builder.reference import parse
from builder.store import Store

if TYPE_CHECKING:
    from builder.backends import Execution

MAX_PARENTS = 100


@frozen
class Project:
    """A project on disk: its folder, its configuration, and the text of its requirements."""

    root: Path
    file: str
    """The name of the configuration file, which is in `root`."""
    config: Config
    requirements: str

    @property
    def path(self) -> Path:
        """The configuration file."""
        return self.root / self.file

    @property
    def lock_path(self) -> Path:
        """Where the lock file is, or would be."""
        return self.root / LOCK_NAME

    @property
    def hash(self) -> str:
        """What a lock answers to."""
        return config.config_hash(self.config, self.requirements)


def find(start: Path, *, file: str = config.FILE_NAME) -> Project:
    """The project of the first `file` that is seen from `start` or from a folder above it: its folder is the file's.

    So `file` may be a path, also an absolute one.
    """
    begin = Path(os.path.realpath(start))  # unlike pathlib's own, these three raise nothing for a name that cannot be
    if not os.path.isdir(begin):  # noqa: PTH112
        raise ConfigError(f"`{start}` is not a folder", hint="name the folder that holds `cog.yaml`")
    for folder in (begin, *list(begin.parents)[:MAX_PARENTS]):
        if os.path.isfile(path := folder / file):  # noqa: PTH113
            break
    else:
        raise ConfigError(
            f"{file} not found in {begin} (or in any parent directories)",
            hint='change to the project\'s folder, or begin with one: `build: {python_version: "3.13"}` and '
            '`run: "run.py:Runner"`',
        )
    root = Path(os.path.realpath(path.parent))
    path = root / path.name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}", hint="it must be UTF-8 text") from problem
    loaded = config.load(text, path=path)
    if loaded.system_packages:
        from builder.config import packages

        packages.read(loaded.system_packages)
    refused = config.unsupported(loaded)
    if refused:
        raise ConfigError(
            f"`{path}` asks for what this release cannot build yet",
            details="\n".join(refused),
            hint="take these out, or put them into an image of your own and name it in `build.base_image`",
        )
    return Project(root=root, file=path.name, config=loaded, requirements=_requirements(loaded, root=root))


def _requirements(loaded: Config, *, root: Path) -> str:
    if loaded.python_project is not None:
        from builder.resolve.pyproject import find_files

        return find_files(root, name=loaded.python_project).dumps()
    if loaded.python_requirements is None:
        return "".join(f"{line}\n" for line in loaded.python_packages)
    path = root / loaded.python_requirements
    try:
        return config.decode(path.read_bytes())
    except FileNotFoundError as problem:
        raise ConfigError(
            f'invalid build.python_requirements "{loaded.python_requirements}": file does not exist',
            hint=f"create `{path}`, or correct the name in `cog.yaml`",
        ) from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}", hint="it must be UTF-8 text") from problem


@frozen
class Files:
    """The files an image is made from that need no download, and where each is on this disk (sha256 → path)."""

    source: tuple[Entry, ...]
    runtime: tuple[Entry, ...]
    local: Mapping[str, Path]


def scan_files(project: Project, *, store: Store) -> Files:
    """Hash what is not known to be unchanged of the project and of the runtime.

    The lock file is not part of the image: it says how to build it, and writing it must not change a digest.
    """
    from builder.resolve.runtime import runtime_files
    from builder.resolve.source import scan

    runtime, local = runtime_files(hash_file=store.hash_file)
    source = scan(project.root, hash_file=store.hash_file)
    entries = tuple(entry for entry in source.entries if entry.path != LOCK_NAME)
    # Names in a plan are UTF-8; this host's locale may have another encoding.
    own = {entry.sha256: project.root / os.fsdecode(entry.path.encode()) for entry in entries if entry.type == "file"}
    return Files(source=entries, runtime=runtime, local={**local, **own})


def get_plan(
    project: Project, *, lock: Lock, files: Files, settings: Settings, options: BuildOptions, with_code: bool = True
) -> Plan:
    """The plan of the project; without its code, only the layers that a lock can name."""
    from builder.compile import compile_plan
    from builder.resolve.source import Source, split_large

    code, large = split_large(Source(entries=files.source)) if with_code else ((), ())
    schema, concurrency = read_schema(project, options=options) if with_code else (None, None)
    config = project.config
    if config.concurrency is None and concurrency is not None:
        config = dataclasses.replace(config, concurrency=concurrency)
    return compile_plan(
        config,
        lock=lock,
        code=code,
        large=large,
        runtime=files.runtime,
        schema=schema,
        version=__version__,
        epoch=settings.epoch,
        compression=options.compression,
        network=options.network,
        bytecode=options.bytecode,
    )


def schema_text(options: BuildOptions) -> str:
    """What of the options decides the schema: the text of `--openapi-schema`, and whether it is checked."""
    mark = "unchecked " if options.skip_schema else ""
    if options.schema_file is None:
        return mark
    try:
        return mark + options.schema_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(
            f"could not read `{options.schema_file}`: {problem}", hint="`--openapi-schema` names a JSON file"
        ) from problem


def read_schema(project: Project, *, options: BuildOptions) -> tuple[Mapping[str, Any] | None, int | None]:
    """The model's OpenAPI document, from the file the options name or else its source, and its `@concurrent(max=)`.

    Checked, unless the options say not to: then a source that cannot be understood gives none.
    """
    from builder import schema

    if options.schema_file is not None:
        return schema.load(options.schema_file, check=not options.skip_schema), None
    if not project.config.run and not project.config.train:
        return None, None
    try:
        found = schema.read(project.root, run=project.config.run, train=project.config.train, version=__version__)
    except SchemaError:
        if options.skip_schema:
            return None, None
        raise
    if not options.skip_schema:
        schema.validate(found.document)
    if (project.config.concurrency or 1) > 1 and not found.is_async:
        raise ConfigError(
            "concurrency.max > 1 requires an async run() or predict() method",
            hint="write `async def`, or take `concurrency` out of `cog.yaml`",
        )
    return found.document, found.concurrency


def make_layers(
    plan: Plan,
    *,
    local: Mapping[str, Path],
    backend_name: str,
    settings: Settings,
    store: Store,
    console: Console,
    texts: Sequence[str] = (),
    elsewhere: Container[str] = frozenset(),
    execution: Execution | None = None,
) -> Sequence[PackedLayer]:
    """Have the layers of a plan made by the backend of that name, after it has said all that it lacks.

    `texts` may hold URLs with the credentials of package indexes: the project's requirements.
    """
    from builder.backends import backend

    chosen = backend(backend_name)
    missing = chosen.check(plan)
    if missing:
        raise BackendError(
            f"the backend `{backend_name}` cannot build this here",
            details="\n".join(missing),
            hint="put right what is listed, or choose another with `--backend`",
        )

    def fetch(remotes: Iterable[Remote]) -> Mapping[str, Path]:
        from builder.resolve.debian import mirror_credentials, with_mirrors
        from builder.resolve.debian.snapshot import ensure_anyhow
        from builder.resolve.indexes import uv_environment
        from builder.resolve.sessions import session_factory

        # Credentials are in the user's settings, never in a lock or a plan; and a mirror near this machine may have
        # what the one in the lock has not.
        mirrors = (*debian_mirrors(settings), *settings.ubuntu_mirrors)
        environment = uv_environment(settings.env, report=console)
        new_session = session_factory(environment, known=mirror_credentials(mirrors), texts=texts)
        debs = [deb for layer in plan.layers if isinstance(layer, DebianLayer | PackagesLayer) for deb in layer.debs]
        places = with_mirrors(tuple(remotes), debs=debs, mirrors=mirrors)
        return ensure_anyhow(
            places, debs=debs, snapshot=settings.snapshot, store=store, report=console, new_session=new_session
        )

    with console.stoppable():
        return chosen.make(
            plan,
            store=store,
            local=local,
            fetch=fetch,
            threads=settings.threads,
            report=console,
            elsewhere=elsewhere,
            execution=execution,
        )


def check_name(name: str) -> str:
    """A name that an image can be given, said before the work; `ConfigError` for anything else."""
    reference = parse(name)
    if reference.digest:
        raise ConfigError(
            f"`{name}` cannot name an image: its digest follows from what it holds", hint=f"write `{reference.tagged}`"
        )
    return name


def image_name(project: Project) -> str:
    """The name an image gets when none is given: `image` or `model` of the configuration, else from the folder's."""
    if project.config.image or project.config.model:
        return str(project.config.image or project.config.model)
    kept = project.root.name.lower().replace(" ", "-")
    kept = "".join(c for c in kept if c in "abcdefghijklmnopqrstuvwxyz0123456789-")
    name = kept if kept.startswith("cog-") else f"cog-{kept}"
    return name[:30].rstrip("-")
