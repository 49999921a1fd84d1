"""One registry over HTTP: challenges, tokens, requests, errors in words.  Knows nothing of images or the store."""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from builder.errors import RegistryError
from builder.fetch import TIMEOUT, default_session, network_problem
from builder.reference import DEFAULT_REGISTRY, Reference, normalised
from builder.registry.auth import Challenge, Credentials, find_credentials, parse_challenges

if TYPE_CHECKING:
    import requests

_DOCKER_HUB_HOST = "registry-1.docker.io"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How registries are reached: the environment that names the files of credentials, and how to make a session."""

    env: Mapping[str, str]
    new_session: Callable[[], requests.Session] = default_session


class Client:
    """Requests to one repository.  May be used by threads."""

    def __init__(self, reference: Reference, *, access: Access) -> None:
        self.reference = normalised(reference)
        self._access = access
        self._local = threading.local()
        self._lock = threading.Lock()
        self._authenticating = threading.Lock()
        self._base: str | None = None
        self._tokens: dict[str, str] = {}
        self._credentials: Credentials | None = None
        self._looked = False

    @property
    def registry(self) -> str:
        """The registry's name, for messages."""
        return self.reference.registry

    def url(self, path: str) -> str:
        """The URL of a path of the repository, such as `manifests/latest`."""
        return f"{self._root()}/v2/{self.reference.repository}/{path}"

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        actions: str = "pull",
        scopes: tuple[str, ...] = (),
        stream: bool = False,
        data: bytes | None = None,
    ) -> requests.Response:
        """Send a request, answering the registry's challenge; the response whatever its status.

        `actions` (`pull`, `pull,push`) and further `scopes` go into the token that is asked for.  Raises what
        `requests` raises if there is no answer at all, and `RegistryError` if there is no way to authenticate.
        """
        scope = " ".join([f"repository:{self.reference.repository}:{actions}", *scopes])

        def send(authorization: str | None) -> requests.Response:
            return self._session().request(
                method,
                urljoin(self._root(), url),
                headers=dict(headers or {}),
                auth=_Authorization(authorization),
                stream=stream,
                data=data,
                timeout=TIMEOUT,
            )

        authorization = self._tokens.get(scope)
        response = send(authorization)
        if response.status_code == 401:
            header = response.headers.get("WWW-Authenticate", "")
            response.close()
            with self._authenticating:
                if self._tokens.get(scope) == authorization:  # else another thread has just got a new one
                    self._authenticate(header, scope=scope)
            response = send(self._tokens.get(scope))
        return response

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, what: str) -> requests.Response:
        """A small document of the repository; `RegistryError` saying that `what` could not be had."""
        with network_problem(RegistryError, f"could not get {what} from `{self.registry}`"):
            response = self.request("GET", self.url(path), headers=headers)
            response.content  # noqa: B018  # read here, where a broken connection is explained
        if response.status_code != 200:
            raise self.refused(response, what=what)
        return response

    def refused(self, response: requests.Response, *, what: str) -> RegistryError:
        """The error for an answer that is not a success."""
        status = response.status_code
        hints = {
            401: f"log in: `docker login {self.registry}` or `podman login {self.registry}`",
            403: f"the account may not do this; log in as another: `docker login {self.registry}`",
            404: "check the spelling; a private repository also looks like this to whoever is not logged in",
            429: "the registry limits requests: log in, or wait",
        }
        reasons = {401: "it wants credentials", 403: "it refuses", 404: "it has none", 429: "too many requests"}
        reason = reasons.get(status, f"HTTP status {status} {response.reason or ''}".rstrip())
        return RegistryError(
            f"could not get {what} from `{self.registry}`: {reason}",
            details=_errors(response) or None,
            hint=hints.get(status),
        )

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._access.new_session()
        session: requests.Session = self._local.session
        return session

    def _root(self) -> str:
        # https, but for registries on this very machine: those may speak http, as Docker also allows.
        with self._lock:
            if self._base is None:
                host = _DOCKER_HUB_HOST if self.registry == DEFAULT_REGISTRY else self.registry
                self._base = f"https://{host}"
                if is_loopback(host):
                    with network_problem(RegistryError, f"could not reach the registry `{self.registry}`"):
                        answer = self._session().get(f"http://{host}/v2/", timeout=TIMEOUT, auth=_Authorization(None))
                    # A TLS server answers plain http with status 400.
                    self._base = f"https://{host}" if answer.status_code == 400 else f"http://{host}"
            return self._base

    def _authenticate(self, header: str, *, scope: str) -> None:
        if not self._looked:
            self._credentials = find_credentials(self.reference, env=self._access.env)
            self._looked = True
        credentials = self._credentials
        challenges = {challenge.scheme: challenge for challenge in parse_challenges(header)}
        if "bearer" in challenges:
            authorization = f"Bearer {self._token(challenges['bearer'], credentials=credentials, scope=scope)}"
        elif "basic" in challenges:
            if credentials is None:
                return  # the second answer is 401 again, and explained by the caller
            authorization = _basic(credentials)
        else:
            raise RegistryError(f"`{self.registry}` asks for an authentication that is not known", details=header)
        self._tokens[scope] = authorization

    def _token(self, challenge: Challenge, *, credentials: Credentials | None, scope: str) -> str:
        """Ask the token server (distribution spec, `token` and `oauth2` flows)."""
        if credentials is not None and credentials.registry_token:
            return credentials.registry_token
        realm = challenge.parameters.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise RegistryError(f"`{self.registry}` names no token server that can be used: `{realm}`")
        host = urlsplit(realm).netloc.rpartition("@")[2]
        if credentials is not None and realm.startswith("http://") and not is_loopback(host):
            raise RegistryError(f"`{self.registry}` wants the password sent to `{host}` without encryption")
        query = {"scope": scope.split(" ")}
        service = challenge.parameters.get("service")
        if service:
            query["service"] = [service]
        with network_problem(RegistryError, f"could not get a token for `{self.registry}`"):
            if credentials is not None and credentials.identity_token:
                form = {
                    "grant_type": "refresh_token",
                    "refresh_token": credentials.identity_token,
                    "client_id": "cogsmith",
                    "scope": scope,
                    "service": service or "",
                }
                response = self._session().post(realm, data=form, auth=_Authorization(None), timeout=TIMEOUT)
            else:
                authorization = _basic(credentials) if credentials is not None else None
                response = self._session().get(realm, params=query, auth=_Authorization(authorization), timeout=TIMEOUT)
            content = response.content
        if response.status_code != 200:
            raise RegistryError(
                f"`{self.registry}` gave no token: HTTP status {response.status_code}",
                details=_errors(response) or None,
                hint=f"log in: `docker login {self.registry}` or `podman login {self.registry}`",
            )
        try:
            answer = json.loads(content)
            token = answer.get("token") or answer["access_token"]
        except (ValueError, KeyError, AttributeError) as problem:
            raise RegistryError(f"the token server of `{self.registry}` gave no token") from problem
        return str(token)


class _Authorization:
    """Sets the header, or none.  Given as `auth` so that requests does not put in what netrc says."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _errors(response: requests.Response) -> str:
    """The registry's own words (distribution spec, error codes)."""
    try:
        document: Any = response.json()
        errors = document["errors"]
        return "\n".join(f"{error.get('code', '')}: {error.get('message', '')}".strip(": ") for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
