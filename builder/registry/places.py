"""Where a reference leads: `registries.conf` (containers-registries.conf(5)), its mirrors, aliases and refusals.

Reads the files that an environment names; the environment itself is handed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import ConfigError, RegistryError
from builder.frozen import frozen
from builder.reference import DEFAULT_REGISTRY, Reference, normalised, parse

_SYSTEM = Path("/etc/containers")


@frozen
class Place:
    """A repository at the host that is really asked; `insecure`: over plain HTTP, or TLS that nobody vouches for."""

    reference: Reference
    insecure: bool = False
    mirror: bool = False


def full(reference: Reference, *, env: Mapping[str, str]) -> Reference:
    """The reference with its registry written out: by an alias, by the first one for short names, else Docker's."""
    if reference.registry:
        return normalised(reference)
    settings = _Settings.read(env)
    alias = settings.aliases.get(reference.repository)
    if alias:
        named = _parsed(alias, what="an alias")
        return normalised(dataclasses.replace(named, tag=reference.tag, digest=reference.digest))
    search = settings.search
    if search and DEFAULT_REGISTRY not in search:
        return normalised(dataclasses.replace(reference, registry=search[0]))
    return normalised(reference)


def places(reference: Reference, *, env: Mapping[str, str]) -> list[Place]:
    """Where to read from, in order: the mirrors, then the registry itself.  `RegistryError` if it is blocked."""
    whole = full(reference, env=env)
    entry = _entry(whole, settings=_Settings.read(env))
    found = []
    for mirror in entry.get("mirror") or ():
        wanted = "digest-only" if entry.get("mirror-by-digest-only") else mirror.get("pull-from-mirror", "all")
        if wanted == "all" or (wanted == "digest-only") == bool(whole.digest):
            moved = _moved(whole, prefix=_prefix(entry), location=str(mirror.get("location", "")))
            found.append(Place(reference=moved, insecure=bool(mirror.get("insecure")), mirror=True))
    return [*found, _home(whole, entry)]


def place(reference: Reference, *, env: Mapping[str, str]) -> Place:
    """Where to write: the registry itself, never a mirror.  `RegistryError` if it is blocked."""
    whole = full(reference, env=env)
    return _home(whole, _entry(whole, settings=_Settings.read(env)))


def _home(whole: Reference, entry: Mapping[str, Any]) -> Place:
    if entry.get("blocked"):
        raise RegistryError(
            f"the registry of `{whole}` is blocked on this machine",
            hint=f"`registries.conf` says so (prefix `{_prefix(entry)}`): name another registry, or change it there",
        )
    location = str(entry.get("location") or "")
    moved = _moved(whole, prefix=_prefix(entry), location=location) if location else whole
    return Place(reference=moved, insecure=bool(entry.get("insecure")))


def _prefix(entry: Mapping[str, Any]) -> str:
    return str(entry.get("prefix") or entry.get("location") or "")


def _moved(whole: Reference, *, prefix: str, location: str) -> Reference:
    rest = whole.registry if prefix.startswith("*.") else prefix
    moved = _parsed(location + whole.name.removeprefix(rest), what="a location")
    return normalised(dataclasses.replace(moved, tag=whole.tag, digest=whole.digest))


def _parsed(text: str, *, what: str) -> Reference:
    try:
        return parse(text)
    except ConfigError as problem:
        raise RegistryError(
            f"`registries.conf` has {what} that is no repository: `{text}`", hint="correct it there"
        ) from problem


def _entry(whole: Reference, *, settings: _Settings) -> Mapping[str, Any]:
    """The entry with the longest prefix that the reference has; an empty one if there is none."""
    fitting = [entry for prefix, entry in settings.registries.items() if _fits(prefix, whole=whole)]
    return max(fitting, key=lambda entry: len(_prefix(entry)), default={})


def _fits(prefix: str, *, whole: Reference) -> bool:
    if prefix.startswith("*."):
        host = whole.registry.rpartition(":")[0] or whole.registry
        return host.endswith(prefix[1:])
    return any(text == prefix or text.startswith((f"{prefix}/",)) for text in (whole.name, str(whole)))


@frozen
class _Settings:
    search: Sequence[str]
    aliases: Mapping[str, str]
    registries: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, env: Mapping[str, str]) -> _Settings:
        search: Sequence[str] = ()
        aliases: dict[str, str] = {}
        registries: dict[str, Mapping[str, Any]] = {}
        for path in _files(env):
            document = _load(path)
            search = document.get("unqualified-search-registries", search)
            aliases.update(document.get("aliases") or {})
            registries.update({_prefix(entry): entry for entry in document.get("registry") or () if _prefix(entry)})
        return cls(search=search, aliases=aliases, registries=registries)


def _files(env: Mapping[str, str]) -> Iterator[Path]:
    user = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or "/") / ".config") / "containers"
    if env.get("CONTAINERS_REGISTRIES_CONF"):
        main = Path(env["CONTAINERS_REGISTRIES_CONF"])
    else:
        main = user / "registries.conf" if (user / "registries.conf").is_file() else _SYSTEM / "registries.conf"
    folders = [_SYSTEM / "registries.conf.d", user / "registries.conf.d"]
    if env.get("CONTAINERS_REGISTRIES_CONF"):
        folders = []
    if env.get("CONTAINERS_REGISTRIES_CONF_DIR"):
        folders = [Path(env["CONTAINERS_REGISTRIES_CONF_DIR"])]
    if main.is_file():
        yield main
    for folder in folders:
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.suffix == ".conf" and path.is_file())


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _load(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = document.get("registry") or []
        search = document.get("unqualified-search-registries") or []
        if not isinstance(search, list) or not all(isinstance(name, str) for name in search):
            raise ValueError("`unqualified-search-registries` is a list of names")
        if not _are_tables(entries) or not all(_are_tables(entry.get("mirror") or []) for entry in entries):
            raise ValueError("`[[registry]]` and `[[registry.mirror]]` are lists of tables")
        aliases = document.get("aliases") or {}
        if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
            raise ValueError("`[aliases]` is a table of names")
    except (OSError, ValueError) as problem:
        raise RegistryError(
            f"could not read `{path}`: {problem}", hint="it is TOML, as containers-registries.conf(5) says: correct it"
        ) from problem
    return document
