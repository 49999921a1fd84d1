"""The compressors of layers: `deflate` (libdeflate) and `zstandard`, of exactly the plan's versions.

The only module that imports them, and only when they are wanted.  The versions are pinned because they shape bytes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from builder import plan
from builder.errors import BackendError
from builder.layers.pack import Codec

PACKAGES = {"libdeflate": "deflate", "zstd": "zstandard"}
"""The package of each codec that a plan can name; a codec's version is that of its package."""


def codec_for(wanted: plan.Codec, compression: plan.Compression) -> Codec:
    """The compressor `wanted`, for layers of `compression`.

    `plain` needs none.  Raises `BackendError` where the codec does not make that compression, or is not installed in
    exactly the plan's version.
    """
    if compression == "plain":
        return _None()
    if wanted.name != {"gzip": "libdeflate", "zstd": "zstd"}[compression]:
        raise BackendError(
            f"the codec `{wanted.name}` of the plan does not make {compression} layers",
            hint="plan again with this version of cogsmith, or choose another `--layer-format`",
        )
    import importlib
    import importlib.metadata  # slow, and a build of which only the code changed compresses nothing

    package = PACKAGES[wanted.name]
    try:
        installed = importlib.metadata.version(package)
        module = importlib.import_module(package)
    except ImportError as problem:
        raise BackendError(
            f"could not import `{package}`, which compresses {compression} layers",
            hint=f"install it: `pip install {package}=={wanted.version}`",
        ) from problem
    if installed != wanted.version:
        raise BackendError(
            f"the plan's layers are compressed by `{package}` {wanted.version}, but {installed} is installed",
            details="Another version may compress to other bytes, and so to another digest.",
            hint=f"`pip install {package}=={wanted.version}`",
        )
    return _Deflate(module, wanted.level) if wanted.name == "libdeflate" else _Zstd(module, wanted.level)


@dataclasses.dataclass(frozen=True, slots=True)
class _Deflate:
    module: Any
    level: int

    def deflate(self, data: bytes) -> bytes:
        return bytes(self.module.deflate_compress(data, self.level))

    def zstd(self, data: bytes) -> bytes:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, slots=True)
class _Zstd:
    module: Any
    level: int

    def deflate(self, data: bytes) -> bytes:
        raise NotImplementedError

    def zstd(self, data: bytes) -> bytes:
        compressor = self.module.ZstdCompressor(level=self.level, write_checksum=True, write_content_size=True)
        return bytes(compressor.compress(data))


@dataclasses.dataclass(frozen=True, slots=True)
class _None:
    def deflate(self, data: bytes) -> bytes:
        raise NotImplementedError

    def zstd(self, data: bytes) -> bytes:
        raise NotImplementedError
