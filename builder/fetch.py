"""What a plan names by hash → verified files.  Downloads resume; nothing unverified ever gets a name.

`requests` is imported only when something has to be downloaded.  Never shows credentials: URLs in messages have lost
their user part and query.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from builder.errors import CogsmithError, FetchError
from builder.frozen import frozen
from builder.plan import Remote
from builder.report import Report
from builder.store import Partial, Store

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

PARALLEL = 8
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further attempt at the same URL."""

TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and between two pieces of a body."""

_CHUNK, _LONGEST_WAIT = 1 << 18, 60.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BROKE = "the connection broke"
_OFFLINE_HINT = (
    "there seems to be no network or no such host; files that are in the cache need no download, so build once with a"
    " network (or check `HTTPS_PROXY`, `NO_PROXY` and `REQUESTS_CA_BUNDLE`)"
)
_REPLACED_HINT = "if the file was replaced on purpose, make the lock anew"
_GONE_HINTS = {
    ".deb": "Debian removes versions that are superseded: run `cogsmith lock` again, or name a snapshot mirror, which"
    " keeps them, in COGSMITH_DEBIAN_MIRROR",
    ".whl": "the index has the file no more: `cogsmith lock --upgrade=NAME` takes another version",
}


@frozen
class Source:
    """One place to download from: `shown` in messages, `get` asks for it with additional request headers."""

    shown: str
    get: Callable[[dict[str, str]], requests.Response]


@frozen
class Wanted:
    """Content by hash (hex) and size in bytes (0: unknown); `name` in messages."""

    name: str
    sha256: str
    size: int


def ensure(
    remotes: Iterable[Remote],
    *,
    store: Store,
    report: Report,
    new_session: Callable[[], requests.Session] | None = None,
    parallel: int = PARALLEL,
    pauses: Sequence[float] = PAUSES,
) -> dict[str, Path]:
    """Local paths of all remotes by sha256 (hex), downloading what the store lacks.

    URLs are tried in turn, local ones (`file:` or plain paths) first: they are verified where they lie and not copied.
    `FetchError` for the first file that cannot be had; the others are given up, and what has come of them is kept for
    the next time.  `new_session` makes the `requests` session of each thread (default: `default_session`).
    """
    wanted = {remote.sha256: remote for remote in remotes}
    missing = [remote for sha256, remote in wanted.items() if not store.has_file(sha256)]
    paths = {sha256: store.file_path(sha256) for sha256 in wanted}
    distant = []
    for remote in missing:
        path = _local(remote, store=store)
        if path is None:
            distant.append(remote)
        else:
            paths[remote.sha256] = path
    if distant:
        sessions = _Sessions(new_session or default_session)
        stop = threading.Event()

        def fetch(remote: Remote) -> None:
            _fetch(remote, store=store, report=report, sessions=sessions, pauses=pauses, stop=stop)

        run_all(fetch, sorted(distant, key=lambda remote: -remote.size), parallel=parallel, stop=stop)
    return paths


def run_all(work: Callable[[T], None], items: Sequence[T], *, parallel: int, stop: threading.Event) -> None:
    """Do `work` for all items in threads.  The first failure, or an interrupt, sets `stop` and is raised."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(parallel, len(items)) or 1) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def default_session() -> requests.Session:
    """A session that takes proxies, certificates and netrc from the environment, as requests does."""
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = "cogsmith"
    return session


def obtain(
    wanted: Wanted,
    *,
    sources: Sequence[Source],
    into: Partial,
    target: Path,
    advance: Callable[[int], None],
    stop: threading.Event,
    pauses: Sequence[float] = PAUSES,
) -> None:
    """Complete the partial download `into` from the first source that can, verify it, and move it to `target`.

    `advance` is told the bytes present.  `FetchError` names every source and what was wrong with it.
    """
    problems: list[tuple[Source, _Trouble]] = []
    for source in sources:
        trouble = _try_source(wanted, source=source, into=into, advance=advance, stop=stop, pauses=pauses)
        if trouble is None:
            into.commit(target)
            return
        problems.append((source, trouble))
    raise _error(wanted, problems=problems)


def without_credentials(url: str) -> str:
    """The URL without user part, query and fragment, any of which may hold a secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?..." if parts.query else "")


@contextlib.contextmanager
def network_problem(error: type[CogsmithError], brief: str) -> Iterator[None]:
    """Turn what `requests` raises in the block into `error`, in words that hold no credentials."""
    try:
        with _explaining():
            yield
    except _Trouble as trouble:
        hint = _OFFLINE_HINT if trouble.offline else None
        raise error(brief, details=trouble.reason, hint=hint) from trouble


@dataclasses.dataclass(eq=False)
class _Trouble(Exception):  # noqa: N818
    """Why an attempt failed.

    `again`: another attempt may do better; `offline`: no server was reached; `content`: the bytes are the wrong ones;
    `gone`: the server has no such file; `wait`: seconds that it asks for.
    """

    reason: str
    _: dataclasses.KW_ONLY
    again: bool = False
    offline: bool = False
    content: bool = False
    gone: bool = False
    wait: float = 0.0


class _Sessions(threading.local):
    """A session for each thread: they are not meant to be shared."""

    def __init__(self, new: Callable[[], requests.Session]) -> None:
        self.session = new()


def _local(remote: Remote, *, store: Store) -> Path | None:
    # The first local URL of the remote that has the right content; an error if there are only local ones.
    problems = []
    distant, gone = False, True
    for url in remote.urls:
        path = _local_path(url)
        if path is None:
            distant = True
            continue
        try:
            actual = store.hash_file(path, path.stat())
        except (OSError, CogsmithError) as problem:
            gone = gone and isinstance(problem, FileNotFoundError)
            problems.append(f"{path}: {problem.strerror if isinstance(problem, OSError) else problem.brief}")
            continue
        if actual == remote.sha256:
            return path
        gone = False
        problems.append(f"{path}: expected sha256 {remote.sha256}\n{' ' * len(str(path))}  got      sha256 {actual}")
    if distant:
        return None
    if not remote.urls:
        problems.append("no place to get it from is known")
    raise FetchError(
        f"could not get `{remote.name}`",
        details="\n".join(problems),
        hint=_GONE_HINTS.get(remote.name[-4:], _REPLACED_HINT) if gone else _REPLACED_HINT,
    )


def _local_path(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in url else Path(url)


def _fetch(
    remote: Remote,
    *,
    store: Store,
    report: Report,
    sessions: _Sessions,
    pauses: Sequence[float],
    stop: threading.Event,
) -> None:
    def source(url: str) -> Source:
        def get(headers: dict[str, str]) -> requests.Response:
            return sessions.session.get(url, headers=headers, stream=True, timeout=TIMEOUT)

        return Source(shown=without_credentials(url), get=get)

    with store.partial_file(remote.sha256, report=report) as into:
        if store.has_file(remote.sha256):  # another process had it while we waited
            into.discard()
            return
        obtain(
            Wanted(name=remote.name, sha256=remote.sha256, size=remote.size),
            sources=[source(url) for url in remote.urls if _local_path(url) is None],
            into=into,
            target=store.file_path(remote.sha256),
            advance=lambda done: report.advance(remote.name, done, remote.size),
            stop=stop,
            pauses=pauses,
        )


def _try_source(
    wanted: Wanted,
    *,
    source: Source,
    into: Partial,
    advance: Callable[[int], None],
    stop: threading.Event,
    pauses: Sequence[float],
) -> _Trouble | None:
    left = list(pauses)
    while True:
        resumed = into.size > 0
        try:
            if not wanted.size or into.size != wanted.size:
                _attempt(wanted, source=source, into=into, advance=advance, stop=stop)
            _check(wanted, into=into)
        except _Trouble as trouble:
            if trouble.content:
                into.restart()
                if resumed:  # what was kept of an earlier attempt may be the wrong part: once more from the beginning
                    continue
            if not trouble.again or not left or stop.wait(max(left.pop(0), trouble.wait)):
                return trouble
        else:
            advance(into.size)
            return None


def _check(wanted: Wanted, *, into: Partial) -> None:
    if wanted.size and into.size < wanted.size:
        raise _Trouble(f"the connection ended after {into.size} of {wanted.size} bytes", again=True)
    if wanted.size and into.size > wanted.size:
        raise _Trouble(f"more than the {wanted.size} bytes of sha256 {wanted.sha256}", content=True)
    if into.sha256 != wanted.sha256:
        raise _Trouble(f"expected sha256 {wanted.sha256}, got {into.sha256}", content=True)


def _attempt(
    wanted: Wanted, *, source: Source, into: Partial, advance: Callable[[int], None], stop: threading.Event
) -> None:
    if wanted.size and into.size > wanted.size:
        into.restart()
    # An encoded body would not have the bytes that were hashed.
    headers = {"Accept-Encoding": "identity"}
    if into.size:
        # A closed range: some registries do not know the open one.
        headers["Range"] = f"bytes={into.size}-{wanted.size - 1 if wanted.size else ''}"
    with _explaining(), source.get(headers) as response:
        _accept(response, wanted=wanted, into=into)
        advance(into.size)
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            into.write(chunk)
            advance(into.size)
            if wanted.size and into.size > wanted.size:
                return
            if stop.is_set():
                raise _Trouble("given up")


def _accept(response: requests.Response, *, wanted: Wanted, into: Partial) -> None:
    """Look at status and headers before the body; start anew where the server does not go on from where we are."""
    status = response.status_code
    if status == 206:
        if response.headers.get("Content-Range", "").startswith(f"bytes {into.size}-"):
            return
        into.restart()
        raise _Trouble("the server sent another range than the one asked for", again=True)
    if status == 200:
        into.restart()
        length = response.headers.get("Content-Length", "")
        if wanted.size and length.isdecimal() and int(length) != wanted.size:
            raise _Trouble(f"{length} bytes instead of the {wanted.size} of sha256 {wanted.sha256}", content=True)
        return
    if status == 416 and into.size:
        into.restart()
        raise _Trouble("the server has no such range (HTTP status 416)", again=True)
    reason = f"HTTP status {status} {response.reason or ''}".rstrip()
    raise _Trouble(reason, again=status in _PASSING, wait=_retry_after(response), gone=status in (404, 410))


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_WAIT) if text.isdecimal() else 0.0


@contextlib.contextmanager
def _explaining() -> Iterator[None]:
    """Say what went wrong on the way in words of ours: the texts of requests hold whole URLs."""
    import requests
    import urllib3

    try:
        yield
    except requests.exceptions.SSLError as problem:
        raise _Trouble(_innermost(problem)) from problem
    except requests.exceptions.ProxyError as problem:
        raise _Trouble(f"the proxy cannot be used: {_innermost(problem)}", again=True, offline=True) from problem
    except requests.exceptions.ConnectTimeout as problem:
        raise _Trouble("no answer to the connection attempt", again=True, offline=True) from problem
    except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as problem:
        raise _Trouble(f"nothing came for {TIMEOUT[1]:.0f} seconds", again=True) from problem
    except requests.exceptions.ConnectionError as problem:
        reason = _innermost(problem)
        raise _Trouble(reason, again=True, offline=reason != _BROKE) from problem
    except urllib3.exceptions.HTTPError as problem:
        raise _Trouble(_innermost(problem), again=True) from problem
    except requests.exceptions.RequestException as problem:  # too many redirects, an unusable URL, ...
        raise _Trouble(f"the address cannot be used ({type(problem).__name__})") from problem


def _innermost(problem: BaseException) -> str:
    # requests wraps urllib3, which wraps the system's error: the last is the one that says something.
    seen: BaseException | None = problem
    text = _BROKE
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return f"TLS failed: {seen.reason or 'no common ground'}"
        if isinstance(seen, socket.gaierror):
            return f"the host is not known ({seen.strerror})"
        if isinstance(seen, OSError) and seen.strerror and not isinstance(seen, ConnectionResetError):
            text = seen.strerror.lower()
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if inner is None and seen.args and isinstance(seen.args[0], BaseException):
            inner = seen.args[0]
        seen = inner if isinstance(inner, BaseException) else None
    return text


def _error(wanted: Wanted, *, problems: Sequence[tuple[Source, _Trouble]]) -> FetchError:
    hint = None
    if problems and all(trouble.offline for _, trouble in problems):
        hint = _OFFLINE_HINT
    elif any(trouble.content for _, trouble in problems):
        hint = "the file was replaced, or something on the way changes it; if that is intended, make the lock anew"
    elif any(trouble.gone for _, trouble in problems):
        hint = _GONE_HINTS.get(wanted.name[-4:])
    lines = [f"{source.shown}: {trouble.reason}" for source, trouble in problems]
    return FetchError(f"could not download `{wanted.name}`", details="\n".join(lines), hint=hint)
