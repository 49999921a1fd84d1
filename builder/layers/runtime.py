"""The runtime layer: a virtual environment's skeleton, the `cog` SDK, and the server with wheels of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.layers.content import Data
from builder.layers.files import entry_members, generated_members, relative
from builder.layers.tar import Member
from builder.layers.wheel import Scheme, install

CHECKING = (
    'import _imp, os; os.environ.get("COGSMITH_CHECK_BYTECODE") and setattr(_imp, "check_hash_based_pycs", "always")'
)
"""Bytecode is compared with its source where that variable is set, as it is for commands: they may change sources."""


def runtime_members(spec: Mapping[str, Any], *, inputs: Mapping[str, Path]) -> list[Member]:
    """The members of a `RuntimeLayer` in its JSON form.

    Its files lie below `root`/sdk, its wheels in `root`/server (one flat directory for `sys.path`, without scripts,
    headers and data), and its generated files below `/`.
    """
    epoch = spec["epoch"]
    root = relative(spec["root"])
    return [
        *_skeleton(spec),
        *entry_members(spec["files"], root=f"{root}/sdk", epoch=epoch, inputs=inputs),
        *install(spec["wheels"], scheme=Scheme(site=f"{root}/server"), epoch=epoch, inputs=inputs),
        *generated_members(spec["generated"], root="", epoch=epoch),
    ]


def _skeleton(spec: Mapping[str, Any]) -> list[Member]:
    """What `python -m venv --system-site-packages --without-pip` makes, and a path file that shows the SDK."""
    epoch = spec["epoch"]
    venv = relative(spec["venv"])
    python, version = spec["interpreter"]["path"], spec["interpreter"]["version"]
    minor = ".".join(version.split(".")[:2])
    config = (
        f"home = {posixpath.dirname(python)}\n"
        "include-system-site-packages = true\n"
        f"version = {version}\n"
        f"executable = {python}\n"
    )

    def file(path: str, text: str) -> Member:
        return Member(path=f"{venv}/{path}", mtime=epoch, content=Data(text.encode()))

    def link(path: str, target: str) -> Member:
        return Member(path=f"{venv}/{path}", type="symlink", mode=0o777, mtime=epoch, linkname=target)

    return [
        file("pyvenv.cfg", config),
        link("bin/python", python),
        link("bin/python3", "python"),
        link(f"bin/python{minor}", "python"),
        file(f"lib/python{minor}/site-packages/cogsmith.pth", f"{spec['root'].rstrip('/')}/sdk\n{CHECKING}\n"),
        link("lib64", "lib"),
    ]
