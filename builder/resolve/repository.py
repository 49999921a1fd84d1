"""A git repository at one commit, cloned by the `git` of this machine, with its own settings and credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from builder import process
from builder.errors import ResolveError


def clone(name: str, *, place: str, folder: Path, env: Mapping[str, str], commit: str = "") -> tuple[Path, str, str]:
    """Clone `URL[@REVISION]` with its submodules into `folder`, at `commit` or else at that revision.

    Returns the folder, the URL without secrets, and the commit.  `ResolveError` in words without secrets where it
    cannot be had; never asks for a password.
    """
    git = process.find("git", purpose=f"get `{name}`", hint="install git, or name an archive instead")
    url, revision = split(place)
    quiet = {**env, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}

    def run(*words: str | Path) -> str:
        argv: Sequence[str | Path] = [git, "-c", "advice.detachedHead=false", *words]
        try:
            return process.run(argv, purpose="get it", env=quiet, error=ResolveError).decode().strip()
        except ResolveError as problem:
            raise ResolveError(
                f"could not get `{name}` from its repository",
                details=_without(_secret(url), problem.details or ""),
                hint="check the address and the revision; git must be able to read it without a question",
            ) from None

    run("clone", "--quiet", "--no-checkout", "--", url, folder)
    wanted = commit or revision or "HEAD"
    if revision.startswith("refs/") and not commit:
        # a clone has branches and tags only, and not what a pull request is kept under, say
        run("-C", folder, "fetch", "--quiet", "origin", revision)
        wanted = "FETCH_HEAD"
    elif commit and not _has(commit, folder=folder, git=git, env=quiet):
        run("-C", folder, "fetch", "--quiet", "origin", commit)
    run("-C", folder, "checkout", "--quiet", wanted, "--")
    run("-C", folder, "submodule", "--quiet", "update", "--init", "--recursive")
    for config in folder.glob(".git/**/config"):  # what is built of it could read the token, and keep it
        config.write_bytes(_without(_secret(url), config.read_bytes().decode("latin-1")).encode("latin-1"))
    return folder, public(url), run("-C", folder, "rev-parse", "HEAD")


def _has(commit: str, *, folder: Path, git: str, env: Mapping[str, str]) -> bool:
    code, _, _ = process.attempt([git, "-C", folder, "cat-file", "-e", f"{commit}^{{commit}}"], env=env)
    return code == 0


def split(place: str) -> tuple[str, str]:
    """The URL and the revision (empty: the default branch) of `URL[@REVISION]`; a `@` in the host's part is its own."""
    scheme, mark, rest = place.partition("://")
    host, slash, path = rest.partition("/")
    path, at, revision = path.rpartition("@") if "@" in path else (path, "", "")
    return f"{scheme}{mark}{host}{slash}{path}", revision if at else ""


def public(url: str) -> str:
    """The URL without a password, and without a user who is one (a token over https)."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    kept = f"{user.partition(':')[0]}{at}" if parts.scheme in ("ssh", "") else ""
    return parts._replace(netloc=f"{kept}{host}").geturl() if at else url


def _secret(url: str) -> str:
    """What of the part before the host must not be told, with its `@`; empty where there is none."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    kept = urlsplit(public(url)).netloc.rpartition("@")[0]
    return "" if user == kept else f"{user.removeprefix(kept)}{at}"


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "@" if secret.startswith(":") else "") if secret else text
