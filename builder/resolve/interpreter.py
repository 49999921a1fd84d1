"""A Python that no base brings: python-build-standalone's, by the URL and sha256 that uv itself knows.

uv downloads and verifies it, so its settings hold (`UV_PYTHON_INSTALL_MIRROR`, certificates, proxies).  It is asked for
the image's platform, never for the host's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from builder import process
from builder.errors import ResolveError
from builder.plan import Interpreter, PythonArchive, Remote
from builder.report import Report
from builder.resolve.uv import machine, program
from builder.store import Store

ROOT = "/opt/python"
"""Below it, each version has a folder of its own."""

MIRROR = "UV_PYTHON_INSTALL_MIRROR"

_HINT = (
    "check the network; name a mirror of python-build-standalone in `UV_PYTHON_INSTALL_MIRROR`, or an image that has "
    "this Python in `build.base_image`"
)
_MIRROR_HINT = (
    f"the mirror that `{MIRROR}` names must have this file, below the folder of its release, with the same content; "
    "or leave the mirror out, or name an image that has this Python in `build.base_image`"
)


def resolve_interpreter(
    python_version: str, *, platform: str, store: Store, env: Mapping[str, str], report: Report
) -> tuple[Interpreter, PythonArchive, Remote]:
    """The newest Python that `python_version` (`3.12` or `3.12.4`) stands for, in the store and verified.

    Raises `ResolveError` where uv knows none for `platform`, or cannot get it.
    """
    request = f"cpython-{python_version}-linux-{machine(platform)}-gnu"
    plain = {name: value for name, value in env.items() if name != MIRROR}
    known = _known(request, env=plain)
    if not known:
        raise ResolveError(
            f"uv knows no Python {python_version} for {platform}",
            hint="use a version that exists; a newer uv knows newer ones (`pip install --upgrade uv`)",
        )
    found = known[0]
    urls = [str(found["url"])]
    for mirrored in _known(str(found["key"]), env=env) if env.get(MIRROR) else ():
        if mirrored["url"] not in urls and not urlsplit(str(mirrored["url"])).username:
            urls.insert(0, str(mirrored["url"]))
    name = urls[-1].rpartition("/")[2].replace("%2B", "+")
    memo = store.memo("python archive", urls[-1])
    if memo is None or not store.has_file(json.loads(memo)["sha256"]):
        report.note(f"getting Python {found['version']} for {platform}")
        memo = json.dumps(_fetched(str(found["key"]), store=store, env=env))
        store.remember("python archive", urls[-1], memo)
    sha256, size = json.loads(memo)["sha256"], json.loads(memo)["size"]
    version = str(found["version"])
    minor = ".".join(version.split(".")[:2])
    return (
        Interpreter(path=f"{ROOT}/{version}/bin/python{minor}", version=version),
        PythonArchive(filename=name, size=size, sha256=sha256),
        Remote(sha256=sha256, size=size, name=name, urls=tuple(urls)),
    )


def _known(request: str, *, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """What uv could download for `request`, the newest first; no pre-release unless asked for."""
    done = process.run(
        [*(program(), "python", "list", "--only-downloads", "--all-versions", "--all-platforms", "--all-arches"),
         *("--output-format", "json", request)],
        purpose="ask uv which Pythons there are",
        env=env,
        error=ResolveError,
    )  # fmt: skip
    found = [item for item in json.loads(done or "[]") if item["variant"] == "default" and item["libc"] == "gnu"]
    released = [item for item in found if str(item["version"]).replace(".", "").isdecimal()]
    return sorted(released, key=_parts, reverse=True)


def _parts(item: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(item["version"]).split("."))


def _fetched(key: str, *, store: Store, env: Mapping[str, str]) -> dict[str, Any]:
    """Let uv download and verify it; the archive goes into the store."""
    with store.scratch() as scratch:
        cache = scratch / "archives"
        # uv keeps the archive that it has verified only if it is told where.
        process.run(
            [program(), "python", "install", "--no-bin", "--install-dir", str(scratch / "installed"), key],
            purpose=f"get {key}",
            env={**env, "UV_PYTHON_CACHE_DIR": str(cache)},
            error=ResolveError,
            hint=_MIRROR_HINT if env.get(MIRROR) else _HINT,
        )
        archives = list(cache.iterdir()) if cache.is_dir() else []
        if len(archives) != 1:
            raise ResolveError(
                f"uv kept no archive of `{key}`", hint="a newer uv does: `pip install --upgrade uv` beside cogsmith"
            )
        sha256 = store.add_file(archives[0])
        return {"sha256": sha256, "size": store.file_path(sha256).stat().st_size}
