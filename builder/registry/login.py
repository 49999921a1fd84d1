"""Logging in: Replicate's own flow for r8.im, a check of name and password elsewhere.  Stores nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from builder.errors import RegistryError
from builder.reference import Reference
from builder.registry.answers import PASSING
from builder.registry.auth import Credentials
from builder.registry.client import Access, Client

if TYPE_CHECKING:
    import requests

_API_TOKEN = "r8_"  # noqa: S105 - the beginning of tokens of another kind


def token_url(registry: str, *, access: Access) -> str:
    """The page where the user gets a token."""
    answer = _ask(registry, "GET", "display-token-url", access=access)
    if answer.status_code == 404:
        raise RegistryError(
            f"{registry} is not the Replicate registry", hint=f"give a user name: `cogsmith login -u NAME {registry}`"
        )
    return _member(answer, "url", registry=registry)


def verify_token(token: str, *, registry: str, access: Access) -> str:
    """The name of the user whose token it is; `RegistryError` if it is nobody's."""
    if token.startswith(_API_TOKEN):
        raise RegistryError(
            "that looks like a Replicate API token, not a CLI auth token",
            hint="run `cogsmith login` and copy the token from the page that it names",
        )
    answer = _ask(registry, "POST", "verify-token", access=access, data={"token": token})
    if answer.status_code == 404:
        raise RegistryError("user does not exist", hint="copy the whole token from the page, and try again")
    return _member(answer, "username", registry=registry)


def verify_password(credentials: Credentials, *, registry: str, access: Access) -> None:
    """See whether the registry lets the user in; `RegistryError` if not."""
    client = Client(Reference(registry=registry, repository=""), access=access, credentials=credentials)
    try:
        response = client.steadily("GET", "/v2/", what="in", do="log")
    except RegistryError as problem:
        if problem.status in (400, 401, 403):  # the token server's answer
            raise _unknown(registry, details=problem.details) from problem
        raise
    if response.status_code in (401, 403):
        raise _unknown(registry, details=None)
    if response.status_code != 200:
        raise client.refused(response, what="in", do="log")


def _unknown(registry: str, *, details: str | None) -> RegistryError:
    return RegistryError(
        f"`{registry}` does not know that name and password",
        details=details,
        hint="check both; many registries want an access token in the place of the password",
    )


def _ask(registry: str, method: str, name: str, *, access: Access, **options: Any) -> requests.Response:
    client = Client(Reference(registry=registry, repository=""), access=access)
    response = client.plain(method, f"/cog/v1/{name}", **options)
    if response.status_code in (200, 404):
        return response
    problem = client.refused(response, what="in", do="log")
    if response.status_code in PASSING:
        problem.hint = "the registry is in trouble: try again in a while"
    raise problem


def _member(response: requests.Response, name: str, *, registry: str) -> str:
    try:
        text = json.loads(response.content)[name]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str) or not text:
        raise RegistryError(
            f"`{registry}` does not answer as Replicate's registry does", hint="is COG_REGISTRY_HOST what it should be?"
        )
    return text
