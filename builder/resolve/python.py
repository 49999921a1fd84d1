"""The model's Python packages: requirements → wheels by hash, resolved by uv for the image's platform and Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder import fetch
from builder.errors import ResolveError
from builder.plan import Remote, Wheel
from builder.report import Report
from builder.resolve import indexes, requirements, uv, wheels
from builder.store import Store

if TYPE_CHECKING:
    import requests


def resolve_python(
    text: str,
    *,
    project: Path,
    python_version: str,
    platform: str,
    glibc: str,
    store: Store,
    env: Mapping[str, str],
    report: Report,
    keep: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[tuple[Wheel, ...], tuple[Remote, ...]]:
    """The wheels that meet the requirements in `text`, sorted by name, and where each can be had.

    `text` is a requirements file that lies in `folder` (default: `project`).  `python_version` is the interpreter's
    (`3.11.2`), `platform` the image's (`linux/amd64`), `glibc` its C library's version.  `keep` holds preferred
    versions by name.  uv's settings, and pip's, are taken from `env` and the user's files.  Raises `ConfigError` for
    lines that cannot be used and `ResolveError` for what cannot be had.
    """
    asked = requirements.read(text, project=project, folder=folder, report=report)
    if not asked.lines:
        return (), ()
    target = f"Python {python_version} on {platform}, glibc {glibc}"
    arguments = ["--python-version", python_version, "--python-platform", uv.python_platform(platform, glibc=glibc)]
    if asked.prereleases:
        arguments += ["--prerelease", "allow"]
    for host in asked.trusted_hosts:
        arguments += ["--allow-insecure-host", host]
    environment = indexes.uv_environment(env, report=report)
    with store.scratch() as scratch:
        try:
            lock = uv.compile_lock(asked.lines, scratch=scratch, arguments=arguments, env=environment, keep=keep)
        except ResolveError as problem:
            raise uv.explained(problem, target=target) from problem
        offered = wheels.offers(lock, folder=scratch)
    minor = ".".join(python_version.split(".")[:2])
    tags = wheels.image_tags(python_minor=minor, machine=uv.machine(platform), glibc=glibc)
    chosen = [wheels.choose(offers, name=name, tags=tags, target=target) for name, offers in offered.items()]
    _check_hashes(chosen, allowed=dict(asked.hashes))
    return wheels.complete(chosen, store=store, new_session=session_factory(environment))


def session_factory(environment: Mapping[str, str]) -> Callable[[], requests.Session]:
    """Makes sessions that know the credentials in the index URLs of `environment` (`indexes.uv_environment`)."""
    known = indexes.credentials(environment)

    def new_session() -> requests.Session:
        session = fetch.default_session()
        if known:
            session.auth = _auth(known)
        return session

    return new_session


def _auth(
    known: Mapping[str, tuple[str, str]],
) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    from requests.auth import HTTPBasicAuth

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        user = known.get(indexes.origin(request.url or ""))
        return HTTPBasicAuth(*user)(request) if user else request

    return authorize


def _check_hashes(chosen: Sequence[wheels.Offer], *, allowed: Mapping[str, Sequence[str]]) -> None:
    """Hold the wheels to the `--hash` options of the requirements."""
    wrong = []
    for offer in chosen:
        wanted = [value.removeprefix("sha256:") for value in allowed.get(offer.name, ())]
        if offer.name in allowed and offer.sha256 not in wanted:
            wrong.append(f"{offer.filename} has sha256 {offer.sha256}, which is none of {', '.join(wanted)}")
    if wrong:
        raise ResolveError(
            "a package is not the file that the requirements name by hash",
            details="\n".join(wrong),
            hint="correct the `--hash` options, or the index that the file comes from",
        )
