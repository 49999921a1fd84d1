"""A session for registries on this very machine: plain HTTP, no proxy, no certificate.

It has the part of requests' interface that this room uses and raises what requests would.  Importing requests takes a
fifth of a small push; here that happens only when something fails, redirects, or leads to another machine.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from builder.registry.answers import is_loopback

if TYPE_CHECKING:
    import requests

BLOCK = 1 << 20
"""Bytes of a body that are handed to the system at once."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class LeanSession:
    """One connection for each host.  Not to be shared by threads; `full` makes requests' own session at need."""

    def __init__(self, full: Callable[[], requests.Session]) -> None:
        self._make = full
        self._session: requests.Session | None = None
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def request(self, method: str, url: str, **options: Any) -> Any:
        """As `requests.Session.request`."""
        parts = urlsplit(url)
        simple = "params" not in options and not isinstance(options.get("data"), dict)
        if simple and parts.scheme == "http" and is_loopback(parts.netloc):
            answer = self._ask(method, url, **options)
            if answer.status_code not in _REDIRECTS or not options.get("allow_redirects", True):
                return answer
            answer.close()
        if self._session is None:
            self._session = self._make()
        return self._session.request(method, url, **options)

    def _ask(
        self,
        method: str,
        url: str,
        *,
        timeout: tuple[float, float],
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        data: Any = None,
        stream: bool = False,
        **_: Any,
    ) -> _Response:
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        sent = _Headers({"User-Agent": "cogsmith", "Accept": "*/*", **(headers or {})})
        if data is not None and not isinstance(data, bytes):
            sent.headers["Content-Length"] = str(len(data))
        if auth is not None:
            auth(sent)
        try:
            connection = self._connection(parts.netloc, timeout=timeout)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server may answer before it has all
                connection.request(method, path, body=data, headers=sent.headers)
            answer = _Response(connection.getresponse(), drop=lambda: self._drop(parts.netloc))
            if not stream:
                answer.content  # noqa: B018
        except (OSError, http.client.HTTPException) as problem:
            self._drop(parts.netloc)
            raise _as_requests(problem) from problem
        except BaseException:
            self._drop(parts.netloc)
            raise
        return answer

    def _connection(self, host: str, *, timeout: tuple[float, float]) -> http.client.HTTPConnection:
        known = self._connections.get(host)
        if known is not None and known.sock is not None:
            if not select.select([known.sock], [], [], 0)[0]:  # something to read now is the end, or a remnant
                return known
            self._drop(host)
        made = http.client.HTTPConnection(host, timeout=timeout[0], blocksize=BLOCK)
        made.connect()
        made.sock.settimeout(timeout[1])
        self._connections[host] = made
        return made

    def _drop(self, host: str) -> None:
        known = self._connections.pop(host, None)
        if known is not None:
            known.close()


class _Headers:
    """What `Authorization` is called with: something that has headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


class _Raw:
    """A body as it comes."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def read(self, count: int) -> bytes:
        """At most so many bytes; an early end is an error."""
        try:
            data = self._response.read(count)
        except (OSError, http.client.HTTPException) as problem:
            raise _as_requests(problem) from problem
        if not data and self._response.length:
            raise _as_requests(ConnectionResetError())
        return data

    def stream(self, count: int, *, decode_content: bool) -> Iterator[bytes]:
        """All of it, in pieces; nothing is decoded."""
        assert not decode_content
        while data := self.read(count):
            yield data


class _Response:
    """The part of `requests.Response` that is used."""

    def __init__(self, response: http.client.HTTPResponse, *, drop: Callable[[], None]) -> None:
        self._response = response
        self._drop = drop
        self._content: bytes | None = None
        self.status_code = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.raw = _Raw(response)

    @property
    def content(self) -> bytes:
        """The whole body."""
        if self._content is None:
            self._content = self._response.read()
        return self._content

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.content)

    def close(self) -> None:
        """Release the connection: for the next request, if all was read."""
        if not self._response.isclosed():
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_requests(problem: Exception) -> OSError:
    """What requests would raise."""
    import requests

    if isinstance(problem, requests.exceptions.RequestException):
        return problem
    if isinstance(problem, TimeoutError):
        return requests.exceptions.ReadTimeout(problem)
    return requests.exceptions.ConnectionError(problem)
