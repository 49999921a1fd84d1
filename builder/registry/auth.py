"""Credentials as Docker's and podman's files and helpers hold them, and what a registry's challenge asks for.

Reads the files that an environment names; the environment itself is handed in.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder import process
from builder.errors import RegistryError
from builder.frozen import frozen
from builder.reference import DEFAULT_REGISTRY, Reference

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
RUN = Path("/run/containers")
_INLINE = "DOCKER_AUTH_CONFIG"
_NOT_FOUND = b"credentials not found"
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@frozen
class Credentials:
    """A user's secret: password, or a token that is traded for access tokens, or an access token itself."""

    username: str = ""
    password: str = dataclasses.field(default="", repr=False)
    identity_token: str = dataclasses.field(default="", repr=False)
    registry_token: str = dataclasses.field(default="", repr=False)


@frozen
class Challenge:
    """One challenge of a `WWW-Authenticate` header (RFC 9110, section 11.6.1); `scheme` in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def find_credentials(reference: Reference, *, env: Mapping[str, str]) -> Credentials | None:
    """The credentials for a repository (its registry written out), from the first file that has any.

    The order: `$DOCKER_AUTH_CONFIG` (the content of such a file, as CI systems hand it over), `$REGISTRY_AUTH_FILE`,
    `$DOCKER_CONFIG/config.json`, podman's files, Docker's.  `RegistryError` if a file or a helper is broken.
    """
    if env.get(_INLINE):
        inline = _parse(env[_INLINE], name=f"${_INLINE}")
        found = _in_file(inline, reference=reference, env=env, path=Path(f"${_INLINE}"))
        if found is not None:
            return found
    for path in files(env):
        document = read_file(path)
        if document is not None:
            found = _in_file(document, reference=reference, env=env, path=path)
            if found is not None:
                return found
    return None


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a `WWW-Authenticate` header."""
    challenges = []
    for part in re.split(r",\s*(?=[A-Za-z]+\s+[A-Za-z0-9_-]+\s*=)|,\s*(?=(?:Basic|Bearer)\b)", header):
        scheme, _, rest = part.strip().partition(" ")
        parameters = {}
        for name, quoted, plain in _PARAMETER.findall(rest):
            parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        challenges.append(Challenge(scheme=scheme.lower(), parameters=parameters))
    return challenges


def files(env: Mapping[str, str]) -> Iterator[Path]:
    """The files that may hold credentials, in the order they are asked."""
    home = Path(env.get("HOME") or "/")
    if env.get("REGISTRY_AUTH_FILE"):
        yield Path(env["REGISTRY_AUTH_FILE"])
    if env.get("DOCKER_CONFIG"):
        yield Path(env["DOCKER_CONFIG"]) / "config.json"
    if env.get("XDG_RUNTIME_DIR"):
        yield Path(env["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    else:  # where podman and skopeo write then, as root above all; another user's, seen in a namespace, is not ours
        path = RUN / str(os.getuid()) / "auth.json"
        if os.access(path, os.R_OK):
            yield path
    yield Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    if not env.get("DOCKER_CONFIG"):
        yield home / ".docker" / "config.json"


def same_key(key: str, registry: str) -> bool:
    """Whether an entry's key means that registry as a whole."""
    return _normal(key) == _normal(registry)


def read_file(path: Path) -> dict[str, Any] | None:
    """The content of a file of credentials; none if there is no such file."""
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise RegistryError(
            f"could not read `{path}`: {(problem.strerror or '').lower()}", hint="check who owns it"
        ) from problem
    return _parse(text, name=str(path))


def _parse(text: str | bytes, *, name: str) -> dict[str, Any]:
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as problem:
        raise RegistryError(f"`{name}` is not JSON: {problem}", hint="log in again, or repair it") from problem
    if not isinstance(document, dict):
        raise RegistryError(f"`{name}` holds no credentials", hint="log in again, or repair it")
    return document


def _in_file(
    document: dict[str, Any], *, reference: Reference, env: Mapping[str, str], path: Path
) -> Credentials | None:
    helpers = document.get("credHelpers") or {}
    auths = document.get("auths") or {}
    keys = list(_keys(reference))
    for key in keys:
        if key in helpers:
            return _ask_helper(str(helpers[key]), server=key, env=env)
    by_key = {_normal(str(key)): value for key, value in auths.items()}
    for key in keys:
        entry = by_key.get(_normal(key))
        if isinstance(entry, dict) and (found := _entry(entry, key=key, path=path)) is not None:
            return found
    if document.get("credsStore"):
        server = DOCKER_HUB_KEY if reference.registry == DEFAULT_REGISTRY else reference.registry
        return _ask_helper(str(document["credsStore"]), server=server, env=env)
    return None


def _keys(reference: Reference) -> Iterator[str]:
    # Files may hold credentials of a namespace or repository: the most specific wins (containers-auth.json(5)).
    words = reference.repository.split("/")
    for count in range(len(words), 0, -1):
        yield "/".join([reference.registry, *words[:count]])
    yield reference.registry
    if reference.registry == DEFAULT_REGISTRY:
        yield DOCKER_HUB_KEY


def _normal(key: str) -> str:
    # Docker writes URLs of the first protocol, `https://host/v1/`, in old entries.
    key = re.sub(r"^https?://", "", key)
    key = re.sub(r"/v[12]/?$", "", key).rstrip("/")
    return DEFAULT_REGISTRY if key in ("index.docker.io", "registry-1.docker.io") else key


def _entry(entry: dict[str, Any], *, key: str, path: Path) -> Credentials | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as problem:
            raise RegistryError(f"the entry `{key}` in `{path}` is damaged", hint="log in again") from problem
        username, _, password = decoded.partition(":")
        password = password.rstrip("\0")
    found = Credentials(
        username=username,
        password=password,
        identity_token=str(entry.get("identitytoken") or ""),
        registry_token=str(entry.get("registrytoken") or ""),
    )
    return found if found != Credentials() else None


def _ask_helper(name: str, *, server: str, env: Mapping[str, str]) -> Credentials | None:
    # The protocol: the server's name on standard input, JSON on standard output.
    program = f"docker-credential-{name}"
    try:
        code, out, err = process.attempt([program, "get"], env=env, stdin=server.encode())
    except OSError as problem:
        raise RegistryError(
            f"could not ask `{program}` for the credentials of `{server}`: {(problem.strerror or '').lower()}",
            hint="install it, or remove it from the file of credentials (`credsStore`, `credHelpers`)",
        ) from problem
    if code:
        if _NOT_FOUND in out or _NOT_FOUND in err:
            return None
        details = process.explain([program, "get"], code, out + err)
        hint = "see what it says, or log in again"
        raise RegistryError(f"`{program}` has no credentials for `{server}`", details=details, hint=hint)
    try:
        answer = json.loads(out)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as problem:
        raise RegistryError(
            f"`{program}` gave no credentials that can be read", hint="log in again, or do without that program"
        ) from problem
    if username == "<token>":
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)
