"""`uv pip compile` for an image, and its refusals in our words.

The only place that knows uv's command line.  uv resolves for the image's platform and Python, never for the host's.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder import process
from builder.errors import ResolveError
from builder.report import Quiet, Report
from builder.resolve.requirements import SOURCE_HINT
from builder.resolve.wheels import UnsatisfiableError

_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC_MINORS = (17, 28, *range(31, 41))
"""Those of `manylinux_2_*` that uv takes as a platform."""

_YANKED = re.compile(r"(?m)^warning: `([^`]+)` is yanked(?: \(reason: \"([^\n]*)\"\))?")

_WORKSPACE = '[project]\nname = "scratch"\nversion = "0"\n[tool.uv.workspace]\n'
_LOCK_HINT = "a complete lock needs no index: `cogsmith lock` where there is a network, and keep pylock.cog.toml"


def machine(platform: str) -> str:
    """`x86_64` of `linux/amd64`; a `ResolveError` for platforms that have no wheels of ours."""
    os_name, _, architecture = platform.partition("/")
    if os_name != "linux" or architecture not in _ARCHITECTURES:
        raise ResolveError(f"the platform `{platform}` is not supported", hint="use linux/amd64 or linux/arm64")
    return _ARCHITECTURES[architecture]


def python_platform(platform: str, *, glibc: str) -> str:
    """What uv calls a Linux with at most this glibc (`2.36`)."""
    major, _, minor = glibc.partition(".")
    known = [number for number in _GLIBC_MINORS if major == "2" and minor.isdecimal() and number <= int(minor)]
    if not known:
        raise ResolveError(
            f"the image's glibc `{glibc}` is older than any wheel of today supports (2.17)",
            hint="choose another `build.base_image`; images with musl have no glibc at all",
        )
    return f"{machine(platform)}-manylinux_2_{known[-1]}"


def compile_lock(
    requirements: Sequence[str],
    *,
    scratch: Path,
    arguments: Sequence[str],
    env: Mapping[str, str],
    keep: Mapping[str, str] | None = None,
    only_from: tuple[str, Sequence[str]] | None = None,
    source: str = "",
    report: Report | None = None,
) -> dict[str, Any]:
    """The `pylock.toml` document that uv makes of `requirements`; `ResolveError` where it cannot.

    `scratch` is an empty folder for the files uv is handed.  `keep` maps names to preferred versions.  `only_from` is
    the URL of an index and further requirements (PEP 508) that are looked for there and nowhere else.  With `source`, a
    name, its sources are looked for instead of wheels; nothing is built for it.  `report` is told of versions that are
    yanked, and were asked for by their very number or were there before.
    """
    lock = scratch / "pylock.toml"
    (scratch / "requirements.in").write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
    if keep:
        lock.write_text(_preferences(keep), encoding="utf-8")
    inputs = ["requirements.in", *(["pyproject.toml"] if only_from else [])]
    command = [
        *(program(), "pip", "compile", *inputs, "--output-file", lock.name, "--format", "pylock.toml"),
        *(("--no-deps", "--no-binary", source) if source else ("--only-binary", ":all:")),
        *("--no-header", "--no-annotate", "--python", sys.executable),
        *arguments,
    ]
    if env.get("UV_NO_INDEX") and "--default-index" not in arguments:
        command.append("--no-index")  # of all that uv can be told by a variable, this is not one
    # uv takes settings from the nearest workspace above its folder: this one has none.  The user's own stay in force.
    workspace = _workspace(*only_from) if only_from else _WORKSPACE
    (scratch / "pyproject.toml").write_text(workspace, encoding="utf-8")
    try:
        code, _, said = process.attempt(command, cwd=scratch, env=env)
    except OSError as problem:
        raise ResolveError(
            f"could not start uv: {problem.strerror}", details=command[0], hint="install cogsmith again: it brings uv"
        ) from problem
    if code:
        raise ResolveError(
            "could not resolve the Python packages", details=process.explain(command, code, said, cwd=scratch)
        )
    report = report or Quiet()
    for name, why in _YANKED.findall(said.decode(errors="replace")):
        because = f" ({why})" if why else ""
        report.warn(f"`{name}` is yanked, its publisher took it back{because}: better ask for another version")
    return tomllib.loads(lock.read_text(encoding="utf-8"))


def _workspace(index: str, lines: Sequence[str]) -> str:
    import tomli_w

    sources = {canonicalize_name(Requirement(line).name): {"index": "only"} for line in lines}
    only = {"name": "only", "url": index, "explicit": True}
    project = {"name": "scratch", "version": "0", "dependencies": list(lines)}
    return tomli_w.dumps({"project": project, "tool": {"uv": {"workspace": {}, "sources": sources, "index": [only]}}})


def program() -> str:
    """The path of uv: the one that came with us, else one on the `PATH`; `ResolveError` if there is none."""
    import uv

    try:
        return uv.find_uv_bin()
    except FileNotFoundError:
        return process.find("uv", purpose="resolve Python packages", hint="install cogsmith again: it brings uv")


def _preferences(keep: Mapping[str, str]) -> str:
    packages = (f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in sorted(keep.items()))
    return 'lock-version = "1.0"\ncreated-by = "cogsmith"\n' + "".join(packages)


def without_wheel(problem: ResolveError) -> str:
    """The name of a package that a failure of `compile_lock` says has no wheel that fits; empty if it names none."""
    said = _without_frame(problem.details or "")
    match = re.search(
        r"(?:versions of )?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\S* (?:has|have) no (?:usable )?wheels", said
    )
    return canonicalize_name(match["name"]) if match else ""


def explained(problem: ResolveError, *, target: str) -> ResolveError:
    """A failure of `compile_lock` in our words; `target` says for what it was resolved."""
    said = _without_frame(problem.details or "")
    output = re.split(r"\n+hint: ", said)[0].strip()  # its hints are about its own options
    for pattern, brief, hint in _EXPLANATIONS:
        match = re.search(pattern, said, re.DOTALL)
        if match:
            name = match.groupdict().get("name") or ""
            error = UnsatisfiableError if brief in _UNSATISFIABLE else ResolveError
            return error(brief.format(target=target, name=name.rstrip(",.")), details=output, hint=hint)
    return ResolveError(
        f"could not resolve the Python packages for {target}",
        details=problem.details,
        hint="what uv says above names the requirement; change it, or the index that it comes from",
    )


def _without_frame(details: str) -> str:
    """What uv said, without our command line and the frame that uv draws."""
    lines = [line for line in details.splitlines() if not line.startswith(("command: ", "ended with "))]
    text = "\n".join(re.sub(r"^[\s×│├╰─▶]+", "", line) for line in lines)
    text = re.sub(r"(?<=[A-Za-z0-9._-])\{[^{}]*\}", "", text)  # a marker that uv sets behind a name
    return re.sub(r"^(error|cause|warning): ", "", text, flags=re.MULTILINE)


_UNSATISFIABLE = frozenset(
    [
        "`{name}` has no wheel for {target}",
        "the index has no version `{name}`",
        "the requirements cannot be met together for {target}",
    ]
)
"""What another Python may change."""

_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"(?:download|read|fetch) `(?P<name>[^`]+)`.*(?:extract archive|ZIP file|zip)",
        "the wheel of `{name}` is damaged or hostile",
        "get it again, from another index, or ask for another version",
    ),
    (
        r"network (?:was|is) disabled|not found in the cache",
        "the Python packages cannot be resolved without a network",
        _LOCK_HINT,
    ),
    (
        r"HTTP status (?:server|client) error \((?P<name>(?:5\d\d|429)[^()]*)\)",
        "the package index is out of order: {name}",
        f"try again later; {_LOCK_HINT}",
    ),
    (
        r"Failed to fetch: `?(?P<name>\S+?)`?\n.*(?:404|410)",
        "the index lists a file that is gone: {name}",
        "ask for another version, or look in another index; whoever keeps the index should list what is there",
    ),
    (
        r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\S* (?:was|were) yanked",
        "of `{name}` there are only versions that are yanked, which their publisher took back",
        "ask for one of them by its very number (`NAME==VERSION`) to have it all the same",
    ),
    (
        r"401 Unauthorized|403 Forbidden|[Mm]issing credentials|valid authentication",
        "the package index refused access",
        "give the credentials in the index's URL, in `~/.netrc` or through a keyring (`UV_KEYRING_PROVIDER`)",
    ),
    (
        r"invalid peer certificate",
        "the package index has a certificate that is not trusted here",
        "name the file with its authority in `PIP_CERT` or `SSL_CERT_FILE`, or the host in `PIP_TRUSTED_HOST`",
    ),
    (
        r"error sending request|Could not connect|dns error|tcp connect error|Connection refused|timed out",
        "the package index could not be reached",
        f"check the network, `HTTPS_PROXY` and the index settings of pip or uv; {_LOCK_HINT}",
    ),
    (
        r"Git operation failed|(?:git|hg|svn|bzr)\+",
        "a package from a version control system has no wheel",
        SOURCE_HINT,
    ),
    (
        r"(?:Because |because )(?P<name>\S+) was not found in the (?:package registry|provided package locations)",
        "no package index that is set has `{name}`",
        "check the spelling in the requirements, and the index settings of pip (`PIP_INDEX_URL`) or uv",
    ),
    (
        r"(?P<name>\S+) (?:has|have) no (?:usable )?wheels",
        "`{name}` has no wheel for {target}",
        SOURCE_HINT,
    ),
    (
        r"\A(?!.*depends? on).*there is no version of (?P<name>\S+)",
        "the index has no version `{name}`",
        "ask for a version that exists",
    ),
    (
        r"\A(?!.*depends? on).* available and you require (?P<name>\S+)",
        "the index has no version `{name}`",
        "ask for a version that exists",
    ),
    (
        r"`requirements\.in`|Couldn.t parse requirement",
        "the requirements are malformed",
        "each line is a requirement such as `numpy==2.0.0` (PEP 508) or an option of pip",
    ),
    (
        r"No solution found",
        "the requirements cannot be met together for {target}",
        "loosen one of the versions named above",
    ),
)
