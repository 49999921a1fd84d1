"""The bytes of layers are pinned: one digest holds order, mode, time, owner, framing and compression at once.

If one of these must change, raise `LAYER_FORMAT` in `builder.plan` and say so in docs/layer-format.md.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import golden_layers
import pytest
from small_wheels import packed

from builder.codec import codec_for
from builder.layers.files import files_members
from builder.layers.writer import write_layer
from builder.plan import Codec, Compression

DIFF_IDS = {
    "files": "sha256:fb247f93abb931d931203b7699f3bf46c702998549ec45ae10cde401067ff59f",
    "runtime": "sha256:b3739bc97f4c32de3eeee2e5fd0131034f5c69f7df7f940e0f99f97a6da84931",
    "wheels": "sha256:f10c13221b679e6c039e03acb88dd4145b331cadf6548c597633255817a20d34",
}
DIGESTS = {
    ("files", "gzip"): "sha256:1cf37b9e0c14c3cbb507adc65eed69bef3f43fa1b86c14831e10b6048f4e359f",
    ("files", "zstd"): "sha256:ed5ef3edaf00cbfda778adbb249a7544a183e3bb00f335ae4c8ff605e8b2083f",
    ("runtime", "gzip"): "sha256:aee610035099f7e410a00169e7f50862bfcc10928a6290d3ffcd66fccdad63c5",
    ("runtime", "zstd"): "sha256:90f4da71b6b78f1e297541f3af07774a2c39749cce0768b2bd50972b7f1026e4",
    ("wheels", "gzip"): "sha256:457e1f9437697a96261dd7f8e151739a2e79f4ddf761f6dceb37f0f321ab8ea0",
    ("wheels", "zstd"): "sha256:e5bcc5149b4413c340c91e89beb1c912d5ca6a696400245977a016ef0faffdd9",
}

COMPRESSED = "sha256:2fcfed8ea25fce5c9468a7fce05ca821eabf8d63896137bcede229dd1061751a"
"""Of the files, as a Debian base is compressed."""


def listing(blob: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        return [
            f"{m.type.decode()} {m.mode:04o} {m.uid}/{m.gid} {m.mtime} {m.size} {m.name}"
            + (f" -> {m.linkname}" if m.linkname else "")
            for m in tar
        ]


@pytest.mark.parametrize("kind", ["files", "runtime", "wheels"])
def test_tar(kind: str, tmp_path: Path) -> None:
    spec, inputs = getattr(golden_layers, kind)(tmp_path)
    result, blob = packed(spec, inputs, compression="plain")
    assert listing(blob) == (golden_layers.DATA / f"{kind}.txt").read_text().splitlines()
    assert result.digest == result.diff_id
    assert result.diff_id == DIFF_IDS[kind], "the entries are the same: their bytes or headers differ"


@pytest.mark.parametrize(("kind", "compression"), DIGESTS)
def test_blob(kind: str, compression: Compression, tmp_path: Path) -> None:
    spec, inputs = getattr(golden_layers, kind)(tmp_path)
    result, blob = packed(spec, inputs, compression=compression)
    assert result.diff_id == DIFF_IDS[kind]
    assert result.size == len(blob)
    assert result.digest == DIGESTS[kind, compression], "the tar is the same: framing or compression differs"


def test_compressed(tmp_path: Path) -> None:
    spec, inputs = golden_layers.files(tmp_path)
    codec = codec_for(Codec(), "gzip")
    members = files_members(spec, inputs=inputs)
    result = write_layer(
        members, out=io.BytesIO(), codec=codec, compression="gzip", compress=True, epoch=golden_layers.EPOCH
    )
    assert (result.diff_id, result.digest) == (DIFF_IDS["files"], COMPRESSED)


def test_the_specification_names_the_same_digests() -> None:
    text = (Path(__file__).parents[2] / "docs/layer-format.md").read_text()
    missing = [digest for digest in (*DIFF_IDS.values(), *DIGESTS.values(), COMPRESSED) if digest not in text]
    assert missing == []
