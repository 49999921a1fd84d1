"""Credentials written where docker and podman find them: Docker's file, or the program that it names.

A file appears whole, readable by its owner only.  Reads and writes what the environment, which is handed in, names.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder import process
from builder.errors import RegistryError
from builder.reference import DEFAULT_REGISTRY
from builder.registry.auth import DOCKER_HUB_KEY, Credentials, files, read_file, same_key


def keep(credentials: Credentials, *, registry: str, env: Mapping[str, str]) -> str:
    """Store the credentials of a registry; where, in words.

    In `$REGISTRY_AUTH_FILE` if that is set, else in Docker's file, which podman reads as well; in the helper that the
    file names for the registry (`credHelpers`, `credsStore`).  Entries of other files that would win are replaced too.
    """
    key = key_of(registry)
    target = _target(env)
    document = read_file(target) or {}
    helper = _helper(document, key=key)
    if helper:
        secret = {"ServerURL": key, "Username": credentials.username, "Secret": credentials.password}
        _call(helper, "store", stdin=json.dumps(secret), env=env)
    shadowing = [path for path in files(env) if path != target and _entry(path, registry=registry)]
    for path in [*([] if helper else [target]), *shadowing]:
        with _changing(path) as document:
            auths = document.setdefault("auths", {})
            for other in [other for other in auths if same_key(other, registry)]:
                del auths[other]
            pair = f"{credentials.username}:{credentials.password}".encode()
            auths[key] = {"auth": base64.b64encode(pair).decode()}
    return f"the program `docker-credential-{helper}`" if helper else f"`{target}`"


def forget(registry: str, *, env: Mapping[str, str]) -> bool:
    """Remove the credentials of a registry from all files and helpers; false if there were none."""
    found = False
    key = key_of(registry)
    for path in files(env):
        document = read_file(path)
        if document is None:
            continue
        helper = _helper(document, key=key)
        if helper and _has(helper, key=key, env=env):
            _call(helper, "erase", stdin=key, env=env)
            found = True
        if _entry(path, registry=registry):
            found = True
            with _changing(path) as document:
                auths = document.get("auths") or {}
                for other in [other for other in auths if same_key(other, registry)]:
                    del auths[other]
    return found


def key_of(registry: str) -> str:
    """What a registry is called in files of credentials."""
    return DOCKER_HUB_KEY if registry == DEFAULT_REGISTRY else registry


def _target(env: Mapping[str, str]) -> Path:
    if env.get("REGISTRY_AUTH_FILE"):
        return Path(env["REGISTRY_AUTH_FILE"])
    return Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME") or "/") / ".docker") / "config.json"


def _helper(document: Mapping[str, Any], *, key: str) -> str:
    helpers = document.get("credHelpers") or {}
    return str(helpers.get(key) or document.get("credsStore") or "")


def _entry(path: Path, *, registry: str) -> bool:
    auths = (read_file(path) or {}).get("auths") or {}
    return any(same_key(key, registry) for key in auths)


def _has(helper: str, *, key: str, env: Mapping[str, str]) -> bool:
    try:
        return process.attempt([f"docker-credential-{helper}", "get"], env=env, stdin=key.encode())[0] == 0
    except OSError:
        return False


def _call(helper: str, verb: str, *, stdin: str, env: Mapping[str, str]) -> None:
    program = f"docker-credential-{helper}"
    try:
        code, out, err = process.attempt([program, verb], env=env, stdin=stdin.encode())
    except OSError as problem:
        raise RegistryError(
            f"could not start `{program}`: {(problem.strerror or '').lower()}",
            hint="install it, or remove it from the file of credentials (`credsStore`, `credHelpers`)",
        ) from problem
    if code:
        raise RegistryError(
            f"`{program}` could not {verb} the credentials",
            details=process.explain([program, verb], code, out + err),
            hint="see what it says; `docker-credential-pass`, for one, needs a key first",
        )


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[dict[str, Any]]:
    """The file's content, written back whole at the end of the block; a link stays one."""
    document = read_file(path) or {}
    yield document
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
                json.dump(document, file, indent="\t")
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as problem:
        raise RegistryError(
            f"could not write `{path}`: {(problem.strerror or '').lower()}",
            hint="check who owns it, or name another folder in DOCKER_CONFIG",
        ) from problem
