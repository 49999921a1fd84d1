"""The plan: what an image holds, as frozen plain data.  Stdlib only; no I/O.

A layer says what it holds, never how to make it.  `Plan.to_json()` is exactly what a backend receives, and
`layer_key()` names the bytes of a pure layer: two layers with the same key have the same digest on every machine.
"""

from __future__ import annotations

import hashlib
from typing import Any

from builder.frozen import frozen
from builder.plan.canonical import canonical_json, to_plain
from builder.plan.keys import CODECS, LAYER_FORMAT, Codec, Compression, chain_link, drop_filenames, layer_key
from builder.plan.layers import (
    BaseLayer,
    BytecodeLayer,
    Compiler,
    Deb,
    DebianLayer,
    Entry,
    FilesLayer,
    Generated,
    Interpreter,
    InterpreterLayer,
    Layer,
    Network,
    PackagesLayer,
    PythonArchive,
    RunLayer,
    RuntimeLayer,
    SecretMount,
    Wheel,
    WheelsLayer,
    title,
)

__all__ = [
    "CODECS",
    "DEFAULT_EPOCH",
    "LAYER_FORMAT",
    "PLAN_FORMAT",
    "BaseLayer",
    "BytecodeLayer",
    "Codec",
    "Compiler",
    "Compression",
    "Deb",
    "DebianLayer",
    "Entry",
    "FilesLayer",
    "Generated",
    "ImageConfig",
    "Interpreter",
    "InterpreterLayer",
    "Layer",
    "Locked",
    "Network",
    "PackagesLayer",
    "Plan",
    "PythonArchive",
    "Remote",
    "RunLayer",
    "RuntimeLayer",
    "SecretMount",
    "Wheel",
    "WheelsLayer",
    "canonical_json",
    "chain_link",
    "layer_key",
    "title",
    "to_plain",
]

PLAN_FORMAT = 1
"""Version of the plan's JSON."""

DEFAULT_EPOCH = 1735689600
"""2025-01-01T00:00:00Z: the latest modification time in an image, unless `SOURCE_DATE_EPOCH` says otherwise."""


@frozen
class ImageConfig:
    """The part of the OCI image configuration that is decided here; mappings are kept as sorted or ordered pairs."""

    env: tuple[tuple[str, str], ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    exposed_ports: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    user: str = ""
    """Empty: root."""
    annotations: tuple[tuple[str, str], ...] = ()
    """Of the manifest, not of the configuration."""


@frozen
class Remote:
    """Where a file named by hash can be downloaded.  Never part of an identity."""

    sha256: str
    size: int
    name: str
    urls: tuple[str, ...]


@frozen
class Locked:
    """What a layer of this key must come out as; `size` is of the blob, in bytes."""

    key: str
    digest: str
    diff_id: str
    size: int


@frozen
class Plan:
    """Everything a backend needs to make the image, and nothing else."""

    format: int = PLAN_FORMAT
    platform: str
    epoch: int
    compression: Compression = "gzip"
    codec: Codec = Codec()
    layers: tuple[Layer, ...]
    config: ImageConfig
    remotes: tuple[Remote, ...] = ()
    locked: tuple[Locked, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data, reasons and URLs included."""
        data: dict[str, Any] = to_plain(self)
        return data

    @property
    def id(self) -> str:
        """sha256 of the plan without reasons and URLs: equal ids mean equal images."""
        data = self.to_json()
        del data["remotes"], data["locked"]
        for layer in data["layers"]:
            layer.pop("reason", None)
            drop_filenames(layer)
        return hashlib.sha256(canonical_json(data)).hexdigest()
