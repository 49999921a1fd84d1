"""One repository of a registry over HTTP: tokens, requests, errors in words.  Knows nothing of images or the store."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin, urlsplit

from builder.errors import RegistryError
from builder.fetch import PAUSES, TIMEOUT, network_problem
from builder.frozen import frozen
from builder.reference import DEFAULT_REGISTRY, Reference
from builder.registry.answers import (
    PASSING,
    in_words,
    is_loopback,
    may_pass,
    nobody_listens,
    read_whole,
    refusal,
    retry_after,
)
from builder.registry.auth import Credentials, find_credentials, parse_challenges
from builder.registry.places import Place, place
from builder.registry.session import session_factory
from builder.registry.token import Authorization, Token, ask_token, basic

if TYPE_CHECKING:
    import requests

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = 5
"""At most so often a request is led elsewhere or asked who sends it."""
_DOCKER_HUB_HOST = "registry-1.docker.io"


def _origin(url: str) -> tuple[str, str, int | None]:
    """What two URLs of one server have in common (RFC 6454): a port that is the scheme's may be left out."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


class Body(Protocol):
    """A request's body that can be sent again, of known length."""

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in pieces; from the beginning each time."""

    def __len__(self) -> int:
        """Bytes in all."""

    def read(self, count: int = -1, /) -> bytes:
        """The next bytes."""

    def restart(self) -> None:
        """Go back to the beginning."""


@frozen
class Access:
    """How registries are reached: the environment that names files and proxies, and how patient to be."""

    env: Mapping[str, str]
    new_session: Callable[[], requests.Session] | None = None
    pauses: tuple[float, ...] = PAUSES
    """Seconds before each further attempt."""
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    """Set when the work is given up."""


class Client:
    """Requests to one repository.  May be used by threads.

    `actions` (`pull`, `pull,push`) is what its tokens are for.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        access: Access,
        actions: str = "pull",
        at: Place | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.place = at or place(reference, env=access.env)
        self.reference = self.place.reference
        self.access = access
        self._actions = actions
        self._credentials = credentials
        self._new_session = access.new_session or session_factory(access.env, insecure=self.place.insecure)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._authenticating = threading.Lock()
        self._base: str | None = None
        self._challenge = ""
        self._tokens: dict[str, Token] = {}

    @property
    def registry(self) -> str:
        """The registry's name, for messages."""
        return self.reference.registry

    def url(self, path: str) -> str:
        """The URL of a path of the repository, such as `manifests/latest`."""
        return f"{self._root()}/v2/{self.reference.repository}/{path}"

    def absolute(self, url: str, *, at: str = "") -> str:
        """The URL that a `Location` stands for, which may be relative to the one that answered, `at`.

        One that leads to the same host without encryption, as registries behind a proxy give that does not tell them of
        it, is taken with encryption: credentials are sent there.
        """
        root = urlsplit(self._root())
        try:
            found = urlsplit(urljoin(at or self._root() + "/", url))
            _ = found.port  # which is read here
        except ValueError as problem:
            raise RegistryError(
                f"`{self.registry}` leads to what is no address: `{url}`",
                hint="the registry is not set up as it should be: tell who runs it",
            ) from problem
        if (root.scheme, found.scheme) == ("https", "http") and root.hostname == found.hostname:
            found = found._replace(scheme=root.scheme, netloc=root.netloc)
        return found.geturl()

    def has(self, path: str, *, what: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether the repository has what is at `path`: asked by HEAD, and by GET where that is not answered."""
        url = self.url(path)
        response = self.steadily("HEAD", url, what=what, do="look for", headers=headers)
        if response.status_code in (405, 501) or (response.status_code == 403 and response.history):
            # Some do not know it, and some lead to a storage whose address is for GET alone.
            response = self.steadily("GET", url, what=what, do="look for", headers=headers, stream=True)
            response.close()
        if response.status_code in (200, 404):
            return response.status_code == 200
        raise self.refused(response, what=what, do="look for")

    def next_page(self, response: requests.Response) -> str:
        """The URL of the next page of a list; empty at its end (RFC 8288)."""
        following = response.links.get("next", {}).get("url")
        return self.absolute(following, at=response.url) if following else ""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        scopes: tuple[str, ...] = (),
        stream: bool = False,
        body: Body | bytes | None = None,
        patience: float = TIMEOUT[1],
    ) -> requests.Response:
        """Send a request, answering the registry's challenge; the response whatever its status.

        Further `scopes` go into the same token.  An address of another host gets no credentials.  `patience`: seconds
        in which something must come.  Raises what `requests` raises if there is no answer at all, and `RegistryError`
        if there is no way to authenticate.
        """
        own_scope = [f"repository:{self.reference.repository}:{self._actions}"] if self.reference.repository else []
        scope = " ".join([*own_scope, *scopes])
        target = self.absolute(url)

        def own(url: str) -> bool:
            return _origin(url) == _origin(self._root())

        def send(token: Token | None) -> requests.Response:
            if body is not None and not isinstance(body, bytes):
                body.restart()
            answered: requests.Response = self._session().request(
                method,
                target,
                headers=dict(headers or {}),
                auth=Authorization(token.text if token and own(target) else None),
                stream=stream,
                data=body,
                timeout=(TIMEOUT[0], patience),
                allow_redirects=method in ("GET", "HEAD"),
                **self._options(target),
            )
            return answered

        token, asked = self._token(scope), False
        response = send(token)
        for _ in range(_REDIRECTS):
            # Who we were led to must not name the token server that is told the password.
            if response.status_code == 401 and own(response.url) and not asked:
                asked = True
                header = response.headers.get("WWW-Authenticate", "")
                response.close()
                self._authenticate(header, scope=scope, known=token)
            elif response.status_code in (307, 308) and method not in ("GET", "HEAD"):
                target = self.absolute(response.headers.get("Location", ""), at=target)
                response.close()
            else:
                break
            response = send(self._tokens.get(scope))
        return response

    def plain(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request to another path of the registry's host, without credentials."""
        url = self.absolute(path)
        with network_problem(RegistryError, f"could not reach the registry `{self.registry}`"):
            response: requests.Response = self._session().request(
                method, url, auth=Authorization(None), timeout=TIMEOUT, **options, **self._options(url)
            )
            return response

    def steadily(self, method: str, url: str, *, what: str, do: str = "get", **options: Any) -> requests.Response:
        """As `request`, again after what passes (a broken connection, 429, 5xx); `RegistryError` says what failed."""
        left = list(self.access.pauses)
        while True:
            wait = 0.0
            try:
                response = self.request(method, url, **{**options, "stream": True})
                if not options.get("stream"):
                    read_whole(response, what=what)  # here, where a broken connection is explained
            except OSError as problem:
                if not left or not may_pass(problem):
                    raise in_words(problem, brief=f"could not {do} {what} at `{self.registry}`") from problem
            else:
                if response.status_code not in PASSING or not left:
                    return response
                wait = retry_after(response)
                response.close()
            if self.access.stop.wait(max(left.pop(0), wait)):
                raise RegistryError(f"gave up {what}", hint="another part failed first: see its error")

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, what: str) -> requests.Response:
        """A small document of the repository; `RegistryError` saying that `what` could not be had."""
        response = self.steadily("GET", self.url(path), headers=headers, what=what)
        if response.status_code != 200:
            raise self.refused(response, what=what)
        return response

    def refused(self, response: requests.Response, *, what: str, do: str = "get") -> RegistryError:
        """The error for an answer that is not a success."""
        return refusal(response, what=what, do=do, registry=self.registry, repository=self.reference.repository)

    def _session(self) -> Any:
        if not hasattr(self._local, "session"):
            self._local.session = self._new_session()
        return self._local.session

    def _options(self, url: str) -> dict[str, Any]:
        # No proxy can reach this machine's own loopback, and who is insecure has no certificate that would be known.
        options: dict[str, Any] = {"verify": False} if self.place.insecure else {}
        if is_loopback(urlsplit(url).netloc):
            options["proxies"] = {"http": "", "https": ""}
        return options

    def _root(self) -> str:
        # https, but for registries on this very machine and insecure ones: those may speak http, as Docker also allows.
        with self._lock:
            if self._base is None:
                host = _DOCKER_HUB_HOST if self.registry == DEFAULT_REGISTRY else self.registry
                schemes = ["https"]
                if is_loopback(host):
                    schemes = ["http", "https"]
                elif self.place.insecure:
                    schemes = ["https", "http"]
                self._base = f"{self._first(schemes, host=host)}://{host}"
            return self._base

    def _first(self, schemes: list[str], *, host: str) -> str:
        """The first of the schemes that the host speaks."""
        for scheme in schemes[:-1]:
            url = f"{scheme}://{host}/v2/"
            try:
                options = {"timeout": TIMEOUT, "auth": Authorization(None), **self._options(url)}
                answer = self._session().request("GET", url, **options)
            except OSError as problem:
                if scheme == "https" or not nobody_listens(problem):  # some TLS servers just hang up
                    continue
                brief = f"could not reach the registry `{self.registry}`"
                raise in_words(problem, brief=brief, hint="is it running, and is this its name and port?") from problem
            if answer.status_code != 400 or scheme == "https":  # a TLS server answers plain http with status 400
                return scheme
        return schemes[-1]

    def _token(self, scope: str) -> Token | None:
        """The token for a scope, renewed before it runs out; none before the registry has asked for any."""
        token = self._tokens.get(scope)
        if self._challenge and (token is None or token.is_stale()):
            self._authenticate(self._challenge, scope=scope, known=token)
        return self._tokens.get(scope)

    def _authenticate(self, header: str, *, scope: str, known: Token | None) -> None:
        with self._authenticating:
            if self._tokens.get(scope) is not known:  # another thread has just got a new one
                return
            credentials = self._credentials or find_credentials(self.reference, env=self.access.env)
            challenges = {challenge.scheme: challenge for challenge in parse_challenges(header)}
            if "bearer" in challenges:

                def send(method: str, url: str, **options: Any) -> requests.Response:
                    options |= {"timeout": TIMEOUT, **self._options(url)}
                    response: requests.Response = self._session().request(method, url, **options)
                    return response

                self._tokens[scope] = ask_token(
                    challenges["bearer"], credentials=credentials, scope=scope, registry=self.registry, send=send
                )
            elif "basic" in challenges:
                if credentials is None:
                    return  # the second answer is 401 again, and explained by the caller
                self._tokens[scope] = Token(text=basic(credentials))
            else:
                raise RegistryError(
                    f"`{self.registry}` asks for an authentication that is not known",
                    details=header,
                    hint="only basic and bearer authentication are spoken here",
                )
            self._challenge = header
