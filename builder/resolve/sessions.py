"""HTTP sessions that go to package indexes as uv would: credentials by origin, certificates, proxies, trusted hosts.

Reads nothing but the environment it is given (`indexes.uv_environment`) and uv's own files; may ask `keyring`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import fetch, process
from builder.resolve import indexes, pyproject

if TYPE_CHECKING:
    import requests


def session_factory(
    environment: Mapping[str, str],
    *,
    known: Mapping[str, tuple[str, str]] | None = None,
    texts: Sequence[str] = (),
) -> Callable[[], requests.Session]:
    """Makes sessions for the indexes of `environment`.

    `known` are users and passwords by origin that come before the others; `texts` may hold URLs with credentials
    (requirements, or `pyproject.Files.dumps`, whose named indexes may have users in variables).  For origins that none
    of them knows netrc is asked, as requests does by itself.
    """
    named = [pair for text in texts for pair in pyproject.named_indexes(text)]
    own = {indexes.origin(url): indexes.named_user(name, env=environment) for name, url in named}
    users = {**indexes.credentials(environment, texts=texts), **{place: user for place, user in own.items() if user}}
    users |= known or {}
    if environment.get("UV_KEYRING_PROVIDER") == "subprocess":
        users = {origin: _from_keyring(origin, user, env=environment) for origin, user in users.items()}
    trusted = indexes.trusted_hosts(environment)

    bundle = next((environment[k] for k in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environment.get(k)), "")
    if not bundle and indexes.wants_system_certificates(environment):
        import ssl

        places = ssl.get_default_verify_paths()
        bundle = places.cafile or places.capath or ""

    def new_session() -> requests.Session:
        session = fetch.default_session()
        session.auth = _auth(users) if users else None
        if bundle and Path(bundle).exists():
            _verify(session, bundle=bundle)
        client = environment.get("SSL_CLIENT_CERT", "")
        if client and Path(client).exists():
            session.cert = client
        if environment.get("ALL_PROXY"):
            session.proxies = _proxies(environment)
        for host in trusted:
            session.mount(f"https://{host}/", _unverified())
            if ":" not in host:
                session.mount(f"https://{host}:", _unverified())
        return session

    return new_session


def _verify(session: requests.Session, *, bundle: str) -> None:
    """Trust `bundle`, also where `REQUESTS_CA_BUNDLE` names another, which requests would prefer to it."""
    session.verify = bundle
    merge = session.merge_environment_settings

    def merged(url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        return merge(url, proxies, stream, bundle if verify is None else verify, cert)

    session.merge_environment_settings = merged  # type: ignore[method-assign]


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxy for all but `NO_PROXY` and this machine, in the words of requests."""
    direct = {"localhost", "127.0.0.1", "[::1]"}
    for name in ("NO_PROXY", "no_proxy"):
        direct |= {host.strip().lstrip(".") for host in environment.get(name, "").split(",") if host.strip()}
    proxies = dict.fromkeys(("http", "https"), environment["ALL_PROXY"])
    return proxies | {f"{scheme}://{host}": "" for host in direct for scheme in ("http", "https")}


def _auth(users: Mapping[str, tuple[str, str]]) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_netrc_auth

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = request.url or ""
        user = users.get(indexes.origin(url)) or get_netrc_auth(url)
        return HTTPBasicAuth(*user)(request) if user else request

    return authorize


def _from_keyring(origin: str, user: tuple[str, str], *, env: Mapping[str, str]) -> tuple[str, str]:
    """The password that the program `keyring` knows for a user without one; uv asks it in the same words."""
    name, password = user
    if password or not name:
        return user
    address = origin.rstrip(":")
    for service in (address, address.partition("://")[2]):
        try:
            code, output, _ = process.attempt(["keyring", "get", service, name], env=env)
        except OSError:
            return user
        if code == 0 and output.strip():
            return name, output.decode().strip()
    return user


def _unverified() -> Any:
    import urllib3
    from requests.adapters import HTTPAdapter

    # The user named the host as one that is trusted without a certificate; saying so for each request helps nobody.
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    class Unverified(HTTPAdapter):
        def send(self, *arguments: Any, **values: Any) -> Any:
            return super().send(*arguments, **{**values, "verify": False})

    return Unverified()
