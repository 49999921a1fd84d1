"""What the environment and the user's configuration file say.  Read once per command and handed down as values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from builder.errors import ConfigError
from builder.frozen import frozen
from builder.plan import DEFAULT_EPOCH

APT_SOURCES = Path("/etc/apt")
MAX_THREADS = 8
"""More would cost memory, and wait for the disk."""

KNOWN = {
    "debian_mirror": (str, list),
    "ubuntu_mirror": (str, list),
    "debian_snapshot": (str,),
    "backend": (str,),
    "torch_index": (str,),
    "cache_repo": (str,),
} | dict.fromkeys(
    ("engine", "buildah_isolation", "buildah_storage_driver", "kaniko_executor", "nix_store", "nix_cache"), (str,)
)


@frozen
class Settings:
    """The environment as values."""

    env: Mapping[str, str]
    store_root: Path
    epoch: int
    mirrors: tuple[str, ...]
    """Debian mirrors of the user's own choice; the host's apt sources follow when a base is resolved."""
    ubuntu_mirrors: tuple[str, ...] = ()
    """Mirrors of Ubuntu, for base images that are one; without any, the image's own sources are asked."""
    snapshot: str = ""
    """Base URL of a snapshot archive of Debian, for packages that no mirror has any more."""
    backend: str
    threads: int
    platform: str
    """The platform images are made for by default: linux/amd64 on every machine, as with Cog, unless
    `COGSMITH_PLATFORM` names another; the same project has the same digest everywhere."""
    host_platform: str
    """What this machine runs."""
    registry: str = "r8.im"
    """Where Cog's own images are, and whose login is Replicate's: `--registry` or `COG_REGISTRY_HOST`."""
    cache_repo: str = ""
    """A repository that machines share as a cache of layers; empty: none."""
    engine: str = "embedded"
    """Who runs containers: a name of `builder.engine.engines.ENGINES`."""
    backend_settings: Mapping[str, str] = field(default_factory=dict)
    """Of one backend or another, for `backends.Execution.settings`; those that are empty are left out."""


def read() -> Settings:
    """Settings from `os.environ` and `$XDG_CONFIG_HOME/cogsmith/config.toml`; the environment wins."""
    env = dict(os.environ)
    home = Path(env.get("HOME") or Path.home())
    cache = _base(env.get("XDG_CACHE_HOME"), default=home / ".cache")
    values = _file(_base(env.get("XDG_CONFIG_HOME"), default=home / ".config") / "cogsmith" / "config.toml")
    if values.get("torch_index"):
        env.setdefault("COGSMITH_TORCH_INDEX", str(values["torch_index"]))
    return Settings(
        env=env,
        store_root=cache / "cogsmith",
        epoch=_epoch(env.get("SOURCE_DATE_EPOCH")),
        mirrors=_urls(env.get("COGSMITH_DEBIAN_MIRROR") or values.get("debian_mirror")),
        ubuntu_mirrors=_urls(env.get("COGSMITH_UBUNTU_MIRROR") or values.get("ubuntu_mirror")),
        snapshot=next(iter(_urls(env.get("COGSMITH_DEBIAN_SNAPSHOT") or values.get("debian_snapshot"))), ""),
        backend=env.get("COGSMITH_BACKEND") or str(values.get("backend", "embedded")),
        threads=min(MAX_THREADS, _processors()),
        platform=env.get("COGSMITH_PLATFORM") or "linux/amd64",
        host_platform="linux/arm64" if os.uname().machine in ("arm64", "aarch64") else "linux/amd64",
        registry=env.get("COG_REGISTRY_HOST") or "r8.im",
        cache_repo=env.get("COGSMITH_CACHE_REPO") or str(values.get("cache_repo", "")),
        engine=env.get("COGSMITH_ENGINE") or str(values.get("engine", "embedded")),
        backend_settings=_backend_settings(env, values),
    )


def _backend_settings(env: Mapping[str, str], values: Mapping[str, object]) -> dict[str, str]:
    """What backends are told beyond the plan, by the names that they know; `BUILDAH_ISOLATION` is Buildah's own."""
    isolation = env.get("COGSMITH_BUILDAH_ISOLATION") or env.get("BUILDAH_ISOLATION")
    found = {
        "isolation": "oci" if isolation == "rootless" else isolation or values.get("buildah_isolation"),
        "storage_driver": env.get("COGSMITH_BUILDAH_STORAGE_DRIVER") or values.get("buildah_storage_driver"),
        "kaniko_executor": env.get("COGSMITH_KANIKO_EXECUTOR") or values.get("kaniko_executor"),
        "nix_store": env.get("COGSMITH_NIX_STORE") or values.get("nix_store"),
        "nix_cache": env.get("COGSMITH_NIX_CACHE") or values.get("nix_cache"),
    }
    return {name: str(value) for name, value in found.items() if value}


def _urls(value: object) -> tuple[str, ...]:
    """One setting that may hold several URLs: a list, or words."""
    urls = value if isinstance(value, list) else str(value or "").split()
    return tuple(str(url).rstrip("/") for url in urls)


def _base(text: str | None, *, default: Path) -> Path:
    """A base directory; a relative one is no setting (XDG Base Directory Specification)."""
    return Path(text) if text and Path(text).is_absolute() else default


def debian_mirrors(settings: Settings) -> tuple[str, ...]:
    """The user's mirrors, else those of this machine's apt."""
    from builder.resolve.debian import host_mirrors

    return settings.mirrors or tuple(host_mirrors(APT_SOURCES))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _epoch(text: str | None) -> int:
    if not text:
        return DEFAULT_EPOCH
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) < 2**33):
        raise ConfigError(
            f"SOURCE_DATE_EPOCH is `{text}`",
            hint="give it as seconds since 1970-01-01, such as 1735689600, or unset it",
        )
    return int(text)


def _file(path: Path) -> dict[str, object]:
    if not path.exists():
        return {}
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}", hint='it is TOML: name = "value"') from problem
    for name, value in values.items():
        if name not in KNOWN:
            raise ConfigError(
                f"`{path}` sets `{name}`, which is no setting", hint=f"settings: {', '.join(sorted(KNOWN))}"
            )
        if not isinstance(value, KNOWN[name]):
            raise ConfigError(
                f"`{path}`: `{name}` has the wrong type", hint="give text, or a list of text for a mirror"
            )
    return values
