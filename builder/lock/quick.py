"""A lock as JSON that only this release reads back: for what is remembered between two builds.  No I/O.

Reading `pylock.cog.toml` means to parse TOML and to validate a PEP 751 document; a text that was read once need not be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from builder.lock import Built, Cuda, DebianBase, ImageBase, Lock
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Compiler, Deb, Interpreter, PythonArchive, Remote, Wheel, to_plain


def dumps(lock: Lock) -> str:
    """The JSON of `lock`."""
    return json.dumps({**to_plain(lock), "kind": type(lock.base).__name__}, separators=(",", ":"))


def loads(text: str) -> Lock:
    """The lock that `dumps` made `text` of."""
    data: dict[str, Any] = json.loads(text)
    kind = data.pop("kind")
    return Lock(
        **{
            **data,
            "base": _base(kind, data["base"]),
            "interpreter": Interpreter(**data["interpreter"]),
            "python": PythonArchive(**data["python"]) if data["python"] else None,
            "wheels": tuple(Wheel(**wheel) for wheel in data["wheels"]),
            "runtime_wheels": tuple(Wheel(**wheel) for wheel in data["runtime_wheels"]),
            "system_packages": tuple(Deb(**deb) for deb in data.get("system_packages", ())),
            "cuda": _cuda(data.get("cuda")),
            "compilers": tuple(_compiler(compiler) for compiler in data["compilers"]),
            "built": tuple(
                Built(**{**built, "requires": tuple(Wheel(**wheel) for wheel in built["requires"])})
                for built in data["built"]
            ),
            "layers": tuple((key, PackedLayer(**packed)) for key, packed in data["layers"]),
            "remotes": tuple(Remote(**{**remote, "urls": tuple(remote["urls"])}) for remote in data["remotes"]),
        }
    )


def _cuda(data: Mapping[str, Any] | None) -> Cuda | None:
    if data is None:
        return None
    return Cuda(**{**data, **{name: tuple(data[name]) for name in ("gpus", "libraries", "reasons")}})


def _compiler(data: Mapping[str, Any]) -> Compiler:
    archive = PythonArchive(**data["archive"]) if data["archive"] else None
    return Compiler(**{**data, "debs": tuple(Deb(**deb) for deb in data["debs"]), "archive": archive})


def _base(kind: str, data: Mapping[str, Any]) -> DebianBase | ImageBase:
    if kind == DebianBase.__name__:
        return DebianBase(**{**data, "debs": tuple(Deb(**deb) for deb in data["debs"])})
    pairs = {name: tuple((key, value) for key, value in data[name]) for name in ("env", "labels")}
    words = {name: tuple(data[name]) for name in ("entrypoint", "cmd")}
    return ImageBase(**{**data, **pairs, **words, "layers": tuple(BaseLayer(**layer) for layer in data["layers"])})
