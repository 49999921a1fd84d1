"""A small HTTP/1.1 client for webhooks: POST, keep-alive, TLS, proxies of the environment, bodies read from files.

Only the status of an answer counts, so its body is dropped; a connection whose answer is long or of unknown length is
not used again.  Standard library only.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import ssl
import time
import urllib.parse
import urllib.request
from typing import Any, Deque, Dict, List, Mapping, NamedTuple, Optional, Tuple

from cog.server.connection import Connection
from cog.server.files import Part, measure, stream

TIMEOUT = 30.0
"""Seconds for one request, from the look-up of the name to the status."""

CONNECTIONS_MAX = 64
"""Connections to one origin at a time; more requests wait."""

IDLE_MAX = 15.0
"""Seconds that an unused connection is kept."""

REDIRECTS_MAX = 5

_SAFE = "!#$%&'()*+,/:;=?@[]~-._"


class URLError(Exception):
    """An address that cannot be asked."""


class Target(NamedTuple):
    """An address taken apart: what to connect to, what to ask for."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str
    credentials: str

    @property
    def origin(self) -> Tuple[str, str, int]:
        """What a connection is to."""
        return self.scheme, self.host, self.port


class _Origin:
    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self.idle: Deque[Connection] = collections.deque()
        self.users = 0
        self.reaping = False


class Client:
    """Sends requests; `proxies` are those of `environment_proxies`."""

    def __init__(self, *, user_agent: str, proxies: Optional[Mapping[str, str]] = None) -> None:
        self._user_agent = user_agent
        self._proxies = dict(proxies or {})
        self._origins: Dict[Tuple[str, str, int], _Origin] = {}
        self._tls: Optional[ssl.SSLContext] = None

    async def post(self, url: str, parts: List[Part], *, headers: Mapping[str, str]) -> int:
        """POST a body and give the status of the answer.

        Redirects that keep the method (307, 308) are followed.  URLError if the address is malformed; OSError,
        asyncio.TimeoutError or ValueError if there is no answer within `TIMEOUT` seconds.
        """
        target = parse_url(url)
        headers = dict(headers)
        for _ in range(REDIRECTS_MAX + 1):
            status, location = await self._exchange(target, parts, headers)
            if status not in (307, 308) or not location:
                break
            there = parse_url(urllib.parse.urljoin(f"{target.scheme}://{target.authority}{target.path}", location))
            if there.origin != target.origin:
                headers.pop("Authorization", None)
            target = there
        return status

    def close(self) -> None:
        """Drop the connections that nobody uses."""
        for origin in self._origins.values():
            for connection in origin.idle:
                connection.abort()
            origin.idle.clear()
        self._origins.clear()

    async def _exchange(self, target: Target, parts: List[Part], headers: Mapping[str, str]) -> Tuple[int, str]:
        origin = self._origins.setdefault(target.origin, _Origin())
        origin.users += 1
        try:
            async with origin.slots:
                return await asyncio.wait_for(self._attempt(origin, target, parts, headers), TIMEOUT)
        finally:
            origin.users -= 1
            if not origin.users and not origin.idle:
                self._origins.pop(target.origin, None)

    async def _attempt(
        self, origin: _Origin, target: Target, parts: List[Part], headers: Mapping[str, str]
    ) -> Tuple[int, str]:
        reused = _take(origin)
        if reused is not None:
            try:
                return await self._on(reused, origin, target, parts, headers)
            except (OSError, ValueError):
                if reused.answered:
                    raise
                # The other side closed it meanwhile, as it may.
        return await self._on(await self._connect(target), origin, target, parts, headers)

    async def _on(
        self, connection: Connection, origin: _Origin, target: Target, parts: List[Part], headers: Mapping[str, str]
    ) -> Tuple[int, str]:
        try:
            proxied = target.scheme == "http" and self._proxy(target) is not None
            path = f"http://{target.authority}{target.path}" if proxied else target.path
            connection.answered = False
            await connection.send(self._head(path, target, parts, headers))
            for chunk in stream(parts):
                await connection.send(chunk)
            answer = await connection.answer()
        except BaseException:
            connection.abort()
            raise
        if connection.reusable and self._origins.get(target.origin) is origin:
            connection.idle_since = time.monotonic()
            origin.idle.append(connection)
            if not origin.reaping:
                origin.reaping = True
                asyncio.get_running_loop().call_later(IDLE_MAX, self._reap, target, origin)
        else:
            connection.abort()
        return answer

    def _reap(self, target: Target, origin: _Origin) -> None:
        """Close what nobody has used for long, the oldest first, and come again if something is left."""
        rest = 0.0
        while origin.idle and rest <= 0:
            rest = (origin.idle[0].idle_since or 0) + IDLE_MAX - time.monotonic()
            if rest <= 0:
                origin.idle.popleft().abort()
        origin.reaping = bool(origin.idle)
        if origin.reaping:
            asyncio.get_running_loop().call_later(rest, self._reap, target, origin)
        elif not origin.users and self._origins.get(target.origin) is origin:
            del self._origins[target.origin]

    def _head(self, path: str, target: Target, parts: List[Part], headers: Mapping[str, str]) -> bytes:
        lines = [f"POST {path} HTTP/1.1", f"Host: {target.authority}", f"User-Agent: {self._user_agent}", "Accept: */*"]
        if target.credentials and "Authorization" not in headers:
            lines.append(f"Authorization: Basic {target.credentials}")
        proxy = self._proxy(target)
        if proxy is not None and proxy.credentials and target.scheme == "http":
            lines.append(f"Proxy-Authorization: Basic {proxy.credentials}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {measure(parts)}", "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace")

    async def _connect(self, target: Target) -> Connection:
        loop = asyncio.get_running_loop()
        proxy = self._proxy(target)
        there = proxy or target
        tls = self._context() if there.scheme == "https" else None
        connection: Any
        _, connection = await loop.create_connection(Connection, there.host, there.port, ssl=tls)
        if proxy is None or target.scheme == "http":
            return connection  # type: ignore[no-any-return]
        try:
            place = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
            lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
            if proxy.credentials:
                lines.append(f"Proxy-Authorization: Basic {proxy.credentials}")
            await connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
            status, _ = await connection.answer(tunnel=True)
            if status != 200:
                raise OSError(f"the proxy answered CONNECT with status {status}")
            await connection.start_tls(self._context(), target.host)
        except BaseException:
            connection.abort()
            raise
        return connection  # type: ignore[no-any-return]

    def _proxy(self, target: Target) -> Optional[Target]:
        url = self._proxies.get(target.scheme) or self._proxies.get("all")
        if not url or urllib.request.proxy_bypass_environment(f"{target.host}:{target.port}", self._proxies):  # type: ignore[attr-defined]
            return None
        return parse_url(url if "://" in url else f"http://{url}")

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if not self._tls.cert_store_stats()["x509_ca"] and ssl.get_default_verify_paths().capath is None:
                for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
                    try:
                        self._tls.load_verify_locations(path)
                        break
                    except OSError:
                        continue
        return self._tls


def environment_proxies() -> Dict[str, str]:
    """The proxies that the environment names, by scheme; `no` lists the hosts without."""
    return urllib.request.getproxies_environment()


def parse_url(url: str) -> Target:
    """Take an http or https URL apart.  URLError if it is none."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        if scheme not in ("http", "https") or not host:
            raise URLError(f"not an http or https URL: {url[:200]!r}")
        host = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError) as problem:
        raise URLError(f"malformed URL {url[:200]!r}: {problem}") from None
    if any(char <= " " or char in '"<>\\^`{|}' or char == "\x7f" for char in host):
        raise URLError(f"malformed URL: {url[:200]!r}")
    standard = 443 if scheme == "https" else 80
    path = urllib.parse.quote(parts.path or "/", safe=_SAFE, errors="replace")
    if parts.query:
        path += "?" + urllib.parse.quote(parts.query, safe=_SAFE, errors="replace")
    authority = f"[{host}]" if ":" in host else host
    if port not in (None, standard):
        authority += f":{port}"
    credentials = ""
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        credentials = base64.b64encode(pair.encode("utf-8", "replace")).decode()
    return Target(scheme, host, standard if port is None else port, path, authority, credentials)


def _take(origin: _Origin) -> Optional[Connection]:
    while origin.idle:
        connection = origin.idle.pop()
        if connection.reusable and time.monotonic() - (connection.idle_since or 0) < IDLE_MAX:
            return connection
        connection.abort()
    return None
