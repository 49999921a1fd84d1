"""What is sent in `Authorization`: basic credentials, or a token that the registry's token server gives for them."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.errors import RegistryError
from builder.fetch import network_problem
from builder.frozen import frozen
from builder.registry import hosts
from builder.registry.answers import errors_of, is_loopback
from builder.registry.auth import Challenge, Credentials

if TYPE_CHECKING:
    import requests

MARGIN = 30.0
"""A token with fewer seconds left (or half of its life, if that is less) is renewed before a request: a large body
would outlive it."""


@frozen
class Token:
    """The header's value, and from when on it should be renewed (on the monotonic clock; None: not known)."""

    text: str = dataclasses.field(repr=False)
    fresh_until: float | None = None

    def is_stale(self) -> bool:
        """Whether it may not last for another request."""
        return self.fresh_until is not None and time.monotonic() > self.fresh_until


class Authorization:
    """Sets the header, or none.  Given as `auth` so that requests does not put in what netrc says."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Called by requests for each request it prepares."""
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def basic(credentials: Credentials) -> str:
    """The header's value for basic authentication."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def ask_token(
    challenge: Challenge,
    *,
    credentials: Credentials | None,
    scope: str,
    registry: str,
    send: Callable[..., requests.Response],
) -> Token:
    """Ask the token server for a token of these scopes (distribution spec, `token` and `oauth2` flows)."""
    if credentials is not None and credentials.registry_token:
        return Token(text=f"Bearer {credentials.registry_token}")
    realm = challenge.parameters.get("realm", "")
    if not realm.startswith(("https://", "http://")):
        raise RegistryError(
            f"`{registry}` names no token server that can be used: `{realm}`",
            hint="the registry is not set up as it should be: tell who runs it",
        )
    host = urlsplit(realm).netloc.rpartition("@")[2]
    if credentials is not None and realm.startswith("http://") and not is_loopback(host):
        raise RegistryError(
            f"`{registry}` wants the password sent to `{host}` without encryption",
            hint="the token server must have an https address: tell who runs the registry",
        )
    query = {"scope": scope.split(" ")} if scope else {}
    service = challenge.parameters.get("service")
    if service:
        query["service"] = [service]
    with network_problem(RegistryError, f"could not get a token for `{registry}`"):
        if credentials is not None and credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": "cogsmith",
                "scope": scope,
                "service": service or "",
            }
            response = send("POST", realm, data=form, auth=Authorization(None))
        else:
            authorization = basic(credentials) if credentials is not None else None
            response = send("GET", realm, params=query, auth=Authorization(authorization))
        content = response.content
    if response.status_code != 200:
        error = RegistryError(
            f"`{registry}` gave no token: HTTP status {response.status_code}",
            details=errors_of(response) or None,
            hint=f"log in: {hosts.log_in(registry)}",
        )
        error.status = response.status_code
        raise error
    try:
        answer = json.loads(content)
        token = str(answer.get("token") or answer["access_token"])
        lasts = float(answer.get("expires_in") or 60)  # the spec's default
    except (ValueError, KeyError, AttributeError, TypeError) as problem:
        raise RegistryError(
            f"the token server of `{registry}` gave no token", hint="is that address a registry's?"
        ) from problem
    return Token(text=f"Bearer {token}", fresh_until=time.monotonic() + max(lasts - MARGIN, lasts / 2))
