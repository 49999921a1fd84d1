"""Where Python packages are looked for: pip's settings, handed to uv in uv's own words.

uv reads its own settings; each of pip's is added only where uv has none of that kind.  Reads configuration files and
the environment it is given.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from builder.errors import ConfigError
from builder.report import Report

# What would answer instead of what is asked for, or look at this machine's own environments.
_WITH_USER = re.compile(r"https?://[^\s/@\"']+@[^\s\"'#,\]}\\]+")

_FILES = ("UV_BUILD_CONSTRAINT", "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE")
"""Variables of uv that name files, relative to where the user is."""

_UNWANTED = frozenset(
    {
        "CONDA_PREFIX",
        "UV_BREAK_SYSTEM_PACKAGES",
        "UV_CUSTOM_COMPILE_COMMAND",
        "UV_NO_BINARY",
        "UV_NO_BINARY_PACKAGE",
        "UV_NO_BUILD",
        "UV_NO_BUILD_PACKAGE",
        "UV_NO_SOURCES",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "VIRTUAL_ENV",
    }
)


def uv_environment(env: Mapping[str, str], *, report: Report) -> dict[str, str]:
    """`env` for a uv that looks where the user's uv, and else the user's pip, would look."""
    made = {name: value for name, value in env.items() if name not in _UNWANTED}
    uv = _uv_settings(env)
    pip = _pip_settings(env)
    for name in _FILES:
        if made.get(name):
            made[name] = " ".join(map(_absolute, made[name].split()))
    if made.get("UV_FIND_LINKS"):
        made["UV_FIND_LINKS"] = ",".join(_absolute(link.strip()) for link in made["UV_FIND_LINKS"].split(","))
    links = [_absolute(link) for link in pip.get("find-links", "").split() if _exists(link, report=report)]
    extra = pip.get("extra-index-url", "").split()
    if "index-url" in pip and "default" not in uv:
        made["UV_DEFAULT_INDEX"] = pip["index-url"]
    if extra and "extra" not in uv:
        made["UV_EXTRA_INDEX_URL"] = " ".join(extra)
        if "strategy" not in uv:
            made["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # all indexes are equal to pip
    if links and "links" not in uv:
        made["UV_FIND_LINKS"] = ",".join(links)
    if _is_true(pip.get("no-index", "")) and "default" not in uv:
        made["UV_NO_INDEX"] = "1"
    if _is_true(pip.get("pre", "")) and not env.get("UV_PRERELEASE"):
        made["UV_PRERELEASE"] = "allow"
    if pip.get("constraint") and not env.get("UV_CONSTRAINT"):
        made["UV_CONSTRAINT"] = " ".join(map(_absolute, pip["constraint"].split()))
    if pip.get("keyring-provider") not in ("subprocess", "disabled"):
        pip.pop("keyring-provider", None)  # uv knows no other: it cannot import a keyring
    for key, variable in (
        ("cert", "SSL_CERT_FILE"),
        ("client-cert", "SSL_CLIENT_CERT"),
        ("trusted-host", "UV_INSECURE_HOST"),
        ("timeout", "UV_HTTP_TIMEOUT"),
        ("default-timeout", "UV_HTTP_TIMEOUT"),
        ("keyring-provider", "UV_KEYRING_PROVIDER"),
        ("proxy", "ALL_PROXY"),
    ):
        if pip.get(key) and not env.get(variable):
            made[variable] = " ".join(pip[key].split())
    made |= {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_NO_WRAP": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return made


def origin(url: str) -> str:
    """Scheme, host and port of a URL: what credentials are valid for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or ''}"


def without_user(url: str) -> str:
    """The URL without user and password: a lock is for everybody."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def credentials(env: Mapping[str, str], *, texts: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """User and password by `origin`, of the index URLs in `env` (as `uv_environment` made it) that carry them.

    Also those that uv's configuration files carry, that `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD` give to an index
    with a name, that `uv auth login` stored, and in URLs of `texts`, where `${NAME}` stands for a variable.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, url in _urls(env):
        parts = urlsplit(url)
        user = named_user(name, env=env)
        if parts.hostname and user is None and parts.username:
            user = unquote(parts.username), unquote(parts.password or "")
        if parts.hostname and user is not None:
            found.setdefault(origin(url), user)
    for text in texts:
        for match in _WITH_USER.finditer(text):
            url = expanded(match[0], env=env)
            parts = urlsplit(url)
            if parts.hostname and parts.username:
                found.setdefault(origin(url), (unquote(parts.username), unquote(parts.password or "")))
    for entry in _read_toml(_stored(env)).get("credential", []):
        if entry.get("username") and "://" in entry.get("service", ""):
            found.setdefault(origin(entry["service"]), (entry["username"], entry.get("password") or ""))
    return found


def expanded(url: str, *, env: Mapping[str, str]) -> str:
    """`url` with the variables in it, as pip and uv read a requirements file: `${NAME}`, if it is set."""
    return re.sub(r"\$\{([A-Z0-9_]+)\}", lambda name: env.get(name[1]) or name[0], url)


def named_user(name: str, *, env: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password that variables of uv or Poetry give to the index of that name."""
    word = re.sub(r"[^A-Z0-9]", "_", name.upper())
    for variable in (f"UV_INDEX_{word}", f"POETRY_HTTP_BASIC_{word}") if word else ():
        user = env.get(f"{variable}_USERNAME")
        if user:
            return user, env.get(f"{variable}_PASSWORD", "")
    return None


def for_uv(name: str, user: tuple[str, str]) -> dict[str, str]:
    """The variables that tell uv the user and password of the index of that name."""
    variable = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    return {f"{variable}_USERNAME": user[0], f"{variable}_PASSWORD": user[1]}


def trusted_hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    """Hosts (`name` or `name:port`) whose certificate is not looked at."""
    hosts = env.get("UV_INSECURE_HOST", "").split()
    for table in map(_read_toml, _uv_files(env)):
        listed = table.get("allow-insecure-host", [])
        hosts += [host for host in (listed if isinstance(listed, list) else []) if isinstance(host, str)]
    return tuple(host.rpartition("://")[2].rstrip("/") for host in hosts)


def wants_system_certificates(env: Mapping[str, str]) -> bool:
    """Whether uv was told to trust what the system trusts."""
    names = ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
    tables = map(_read_toml, _uv_files(env))
    return any(_is_true(env.get(name, "")) for name in names) or any(
        table.get("system-certs") is True or table.get("native-tls") is True for table in tables
    )


def has_own(env: Mapping[str, str]) -> bool:
    """Whether the user set any index or folder of packages, in uv's words or in pip's."""
    return bool({"default", "extra", "links"} & _uv_settings(env)) or any(
        _pip_settings(env).get(key) for key in ("index-url", "extra-index-url", "find-links", "no-index")
    )


def has_strategy(env: Mapping[str, str]) -> bool:
    """Whether uv was told how to choose between indexes."""
    return "strategy" in _uv_settings(env) or bool(env.get("UV_INDEX_STRATEGY"))


def has_torch_backend(env: Mapping[str, str]) -> bool:
    """Whether uv was told which builds of PyTorch to take."""
    tables = map(_read_toml, _uv_files(env))
    return bool(env.get("UV_TORCH_BACKEND")) or any("torch-backend" in table.get("pip", {}) for table in tables)


def _urls(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The index URLs that are set, with the name of each (`corp=https://...`) or none."""
    words = [
        *env.get("UV_DEFAULT_INDEX", env.get("UV_INDEX_URL", "")).split(),
        *env.get("UV_INDEX", "").split(),
        *env.get("UV_EXTRA_INDEX_URL", "").split(),
        *env.get("UV_FIND_LINKS", "").split(","),
    ]
    for word in words:
        name, equals, url = word.partition("=")
        yield (name, url) if equals and "://" not in name else ("", word)
    for table in map(_read_toml, _uv_files(env)):
        for part in (table, table.get("pip", {})):
            for index in part.get("index", []):
                yield index.get("name", ""), index.get("url", "")
            for key in ("index-url", "extra-index-url", "find-links"):
                value = part.get(key, [])
                yield from (("", url) for url in ([value] if isinstance(value, str) else value))


def _stored(env: Mapping[str, str]) -> Path:
    home = Path(env.get("HOME") or "/nonexistent")
    data = Path(env.get("XDG_DATA_HOME") or home / ".local/share")
    return Path(env.get("UV_CREDENTIALS_DIR") or data / "uv/credentials") / "credentials.toml"


def settings_files(env: Mapping[str, str]) -> list[Path]:
    """The files of pip and uv that can change a resolution, whether or not they exist."""
    return [*_uv_files(env), *_pip_files(env)]


def _uv_settings(env: Mapping[str, str]) -> set[str]:
    """Which kinds of settings uv has of its own, from the environment and its configuration files."""
    kinds = {
        "default": ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_INDEX"),
        "extra": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
        "links": ("UV_FIND_LINKS",),
        "strategy": ("UV_INDEX_STRATEGY",),
    }
    found = {kind for kind, names in kinds.items() if any(env.get(name) for name in names)}
    for table in map(_read_toml, _uv_files(env)):
        for part in (table, table.get("pip", {})):
            indexes = part.get("index", [])
            if "index-url" in part or part.get("no-index") or any(index.get("default") for index in indexes):
                found.add("default")
            if "extra-index-url" in part or any(not index.get("default") for index in indexes):
                found.add("extra")
            found |= {kind for kind, key in (("links", "find-links"), ("strategy", "index-strategy")) if key in part}
    return found


def _uv_files(env: Mapping[str, str]) -> list[Path]:
    if _is_true(env.get("UV_NO_CONFIG", "")):
        return []
    if env.get("UV_CONFIG_FILE"):
        return [Path(env["UV_CONFIG_FILE"])]
    folders = [_config_home(env), *_paths(env.get("XDG_CONFIG_DIRS") or "/etc/xdg"), Path("/etc")]
    return [folder / "uv/uv.toml" for folder in folders]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # uv itself complains, in better words


def _pip_settings(env: Mapping[str, str]) -> dict[str, str]:
    """The options of `pip install`: files in pip's documented order, later ones win, then `PIP_*` variables."""
    settings: dict[str, str] = {}
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _pip_files(env):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8"), source=os.fspath(path))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, configparser.Error) as problem:
            raise ConfigError(f"could not read pip's configuration `{path}`", details=str(problem)) from problem
        for section, values in sections.items():
            if parser.has_section(section):
                values |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    settings |= sections["global"]
    settings |= sections["install"]
    for name, value in env.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {key: value.strip() for key, value in settings.items()}


def _pip_files(env: Mapping[str, str]) -> list[Path]:
    chosen = env.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    home = Path(env.get("HOME") or "/nonexistent")
    mac = Path("Library/Application Support/pip/pip.conf")
    return [
        *(folder / "pip/pip.conf" for folder in reversed(_paths(env.get("XDG_CONFIG_DIRS") or "/etc/xdg"))),
        Path("/") / mac,
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        home / mac,
        _config_home(env) / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(chosen)] if chosen else []),
    ]


def _config_home(env: Mapping[str, str]) -> Path:
    return Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or "/nonexistent") / ".config")


def _paths(value: str) -> list[Path]:
    return [Path(part) for part in value.split(os.pathsep) if part]


def _exists(link: str, *, report: Report) -> bool:
    # uv stops at a folder that is not there; pip goes on.
    path = Path(unquote(urlsplit(link).path)) if link.startswith("file:") else Path(link)
    if "://" in link and not link.startswith("file:"):
        return True
    if path.exists():
        return True
    report.warn(f"pip's `find-links` names `{link}`, which does not exist")
    return False


def _absolute(link: str) -> str:
    # uv is started in a folder of ours, where a relative path means another file.
    return link if "://" in link or link.startswith("~") else os.fspath(Path(link).absolute())


def _is_true(value: str) -> bool:
    return value.lower() in {"1", "true", "yes", "on", "y", "t"}
