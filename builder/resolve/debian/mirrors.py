"""The base URLs of mirrors: their credentials apart, and a package's address below each of them.

A lock names mirrors without credentials; whoever downloads adds them again by origin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from builder.fetch import default_session
from builder.plan import Deb, Remote
from builder.resolve.indexes import origin

if TYPE_CHECKING:
    import requests

_SECURITY = "-security"
_SECURITY_POOL = "pool/updates/"
"""Where the security archive keeps its packages, and no other archive does."""


def mirror_credentials(mirrors: Sequence[str]) -> dict[str, tuple[str, str]]:
    """User and password by origin (`scheme://host:port`, as `indexes.origin`) of the mirrors whose URL has a user."""
    found: dict[str, tuple[str, str]] = {}
    for mirror in mirrors:
        parts = urlsplit(mirror)
        if parts.hostname and parts.username:
            found.setdefault(origin(_plain(mirror)), (unquote(parts.username), unquote(parts.password or "")))
    return found


def plain_mirrors(mirrors: Sequence[str]) -> tuple[str, ...]:
    """The mirrors' URLs without user, password, query and fragment, each once, and without a slash at the end."""
    return tuple(dict.fromkeys(_plain(mirror) for mirror in mirrors))


def places(mirrors: Sequence[str]) -> tuple[str, ...]:
    """The mirrors (`plain_mirrors`), then the security archive beside each: it lies there on most."""
    plain = plain_mirrors(mirrors)
    beside = (f"{mirror}{_SECURITY}" for mirror in plain if mirror.endswith("/debian"))
    return tuple(dict.fromkeys((*plain, *beside)))


def with_mirrors(remotes: Sequence[Remote], *, debs: Sequence[Deb], mirrors: Sequence[str]) -> tuple[Remote, ...]:
    """`remotes`, those of packages in `debs` with their address on each of `mirrors` after the URLs they have.

    A lock that was made with one mirror can so be fetched with another.  Remotes of other files stay as they are.
    """
    filenames = {deb.sha256: deb.filename for deb in debs}
    bases = places(mirrors)
    return tuple(
        _with(remote, filename=filenames[remote.sha256], bases=bases) if remote.sha256 in filenames else remote
        for remote in remotes
    )


def session_factory(known: Mapping[str, tuple[str, str]]) -> Callable[[], requests.Session]:
    """Makes sessions that send to each origin of `known` (see `mirror_credentials`) its user and password.

    For other origins netrc is asked, as without this.
    """

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        from requests.auth import HTTPBasicAuth
        from requests.utils import get_netrc_auth

        url = request.url or ""
        user = known.get(origin(url)) or get_netrc_auth(url)
        return HTTPBasicAuth(*user)(request) if user else request

    def new_session() -> requests.Session:
        session = default_session()
        if known:
            session.auth = authorize
        return session

    return new_session


def _plain(mirror: str) -> str:
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https"):
        return mirror.rstrip("/")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _with(remote: Remote, *, filename: str, bases: Sequence[str]) -> Remote:
    security = filename.startswith(_SECURITY_POOL)
    # The archive that the package is from comes first; which one that is does not show in every mirror's URL.
    ordered = sorted(bases, key=lambda base: (_SECURITY in base) != security)
    urls = dict.fromkeys((*remote.urls, *(f"{base}/{filename}" for base in ordered)))
    return dataclasses.replace(remote, urls=tuple(urls))
