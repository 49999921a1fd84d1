"""The model's Python packages: requirements → wheels by hash, resolved by uv for the image's platform and Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.errors import ResolveError
from builder.plan import Remote, Wheel
from builder.report import Report
from builder.resolve import indexes, requirements, torch, uv, wheels
from builder.resolve.sessions import session_factory
from builder.store import Store


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
    accelerator: str = "cpu",
) -> tuple[tuple[Wheel, ...], tuple[Remote, ...]]:
    """The wheels that meet the requirements in `text`, sorted by name, and where each can be had.

    `text` is a requirements file that lies in `folder` (default: `project`).  `python_version` is the interpreter's
    (`3.11.2`), `platform` the image's (`linux/amd64`), `glibc` its C library's version.  `keep` holds preferred
    versions by name.  `accelerator` (`cpu`, `cu126`; empty: unknown) is what PyTorch is wanted for.  uv's settings,
    and pip's, are taken from `env` and the user's files.  Raises `ConfigError` for lines that cannot be used and
    `ResolveError` for what cannot be had.
    """
    asked = requirements.read(text, project=project, folder=folder, report=report)
    if not asked.lines:
        return (), ()
    target = f"Python {python_version} on {platform}, glibc {glibc}"
    arguments = ["--python-version", python_version, "--python-platform", uv.python_platform(platform, glibc=glibc)]
    if asked.prereleases:
        arguments += ["--prerelease", "allow"]
    environment = indexes.uv_environment(env, report=report)
    if asked.trusted_hosts:
        environment["UV_INSECURE_HOST"] = " ".join([environment.get("UV_INSECURE_HOST", ""), *asked.trusted_hosts])
    if asked.has_default_index and not env.get("UV_DEFAULT_INDEX"):
        environment.pop("UV_DEFAULT_INDEX", None)  # was pip's setting, and to pip the file wins
    if asked.has_extra_index and not indexes.has_strategy(environment):
        environment["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # to pip, which Cog installs with, all are equal
    others, only_from, more = torch.split(asked, env=env, accelerator=accelerator, report=report)
    with store.scratch() as scratch:
        try:
            lock = uv.compile_lock(
                others,
                scratch=scratch,
                arguments=[*arguments, *more],
                env=environment,
                keep=keep,
                only_from=only_from,
            )
        except ResolveError as problem:
            explained = uv.explained(problem, target=target)
            if more or only_from:
                explained.hint = f"{explained.hint}; {torch.HINT}"
            raise explained from problem
        offered = wheels.offers(lock, folder=scratch)
    minor = ".".join(python_version.split(".")[:2])
    tags = wheels.image_tags(python_minor=minor, machine=uv.machine(platform), glibc=glibc)
    allowed = dict(asked.hashes)
    chosen = [
        wheels.choose(_allowed(offers, hashes=allowed.get(name)), name=name, tags=tags, target=target)
        for name, offers in offered.items()
        if not _is_own(name, report=report)
    ]
    _check_hashes(chosen, allowed=allowed)
    found, remotes = wheels.complete(chosen, store=store, new_session=session_factory(environment, texts=[text]))
    return found, tuple(dataclasses.replace(r, urls=tuple(map(indexes.without_user, r.urls))) for r in remotes)


def _is_own(name: str, *, report: Report) -> bool:
    """Whether it is the SDK, which something else asks for."""
    if name in requirements.OWN:
        report.warn(f"`{name}`, which another package asks for, is left out: the image has its own SDK")
    return name in requirements.OWN


def _allowed(offers: Sequence[wheels.Offer], *, hashes: Sequence[str] | None) -> Sequence[wheels.Offer]:
    """Those that the requirements name by hash; all where they name none of them, which is then an error."""
    return [offer for offer in offers if f"sha256:{offer.sha256}" in (hashes or ())] or offers


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
