"""A snapshot archive: packages that no mirror has any more, by hash.

Asks the machine-readable interface of Debian's snapshot service (its `API` document); the service's base URL comes from
whoever calls.  What comes is verified like all that is fetched.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from builder.errors import FetchError
from builder.fetch import PARALLEL, default_session, ensure, network_problem, run_all
from builder.plan import Deb, Remote
from builder.report import Report
from builder.store import Store

if TYPE_CHECKING:
    import requests

TIMEOUT = (10, 60)
"""Seconds to wait for the service: to connect, and for each read."""


def ensure_anyhow(
    remotes: Iterable[Remote],
    *,
    debs: Sequence[Deb],
    snapshot: str,
    store: Store,
    report: Report,
    new_session: Callable[[], requests.Session] = default_session,
) -> dict[str, Path]:
    """`fetch.ensure`; packages of `debs` that cannot be had come from the service at `snapshot` (empty: there is none).

    Raises `FetchError` with what was wrong with the mirrors if the service has it neither.
    """
    remotes = list(remotes)
    try:
        return ensure(remotes, store=store, report=report, new_session=new_session)
    except FetchError:
        by_hash = {deb.sha256: deb for deb in debs}
        lost = [r for r in remotes if r.sha256 in by_hash and not store.has_file(r.sha256)]
        if not snapshot or not lost:
            raise
    stop = threading.Event()

    def fetch(remote: Remote) -> None:
        try:
            ensure([remote], store=store, report=report, new_session=new_session)
        except FetchError as problem:
            with new_session() as session:
                urls = addresses(by_hash[remote.sha256], snapshot=snapshot, session=session)
            if not urls:
                raise problem from None
            report.note(f"`{remote.name}` comes from the snapshot archive: no mirror has it")
            ensure([dataclasses.replace(remote, urls=urls)], store=store, report=report, new_session=new_session)

    run_all(fetch, lost, parallel=PARALLEL, stop=stop)
    return ensure(remotes, store=store, report=report, new_session=new_session)


def addresses(deb: Deb, *, snapshot: str, session: requests.Session) -> tuple[str, ...]:
    """Where the service at `snapshot` has the file of a package; nothing if it does not know that version.

    Raises `FetchError` when it cannot be asked.
    """
    url = f"{snapshot}/mr/binary/{quote(deb.package, safe='')}/{quote(deb.version, safe='')}/binfiles"
    with network_problem(FetchError, f"could not ask the snapshot archive for `{deb.package}`"):
        answer = session.get(url, timeout=TIMEOUT)
        if answer.status_code != 200:
            return ()
        try:
            data: Any = answer.json()
            files = [file for file in data["result"] if file["architecture"] in (deb.architecture, "all")]
            return tuple(f"{snapshot}/file/{quote(file['hash'], safe='')}" for file in files)
        except (ValueError, KeyError, TypeError):
            return ()
