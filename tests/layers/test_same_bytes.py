"""The bytes of a layer depend on its inputs alone: not on threads, libraries, locale, time zone, umask or hash seed."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
import threading
import zlib
from pathlib import Path

import golden_layers
import pytest
import zstandard
from small_wheels import packed

from builder.codec import codec_for
from builder.layers.content import Data, Deflated, FileSlice, Spooled
from builder.layers.tar import Member
from builder.layers.writer import FRAME, Packed, write_layer
from builder.plan import CODECS, Codec, Compression

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
if {no_isal!r}:
    sys.modules["isal"] = None
import golden_layers
from small_wheels import packed
from builder.layers import reader
assert ("isal" in reader.crc32.__module__) != {no_isal!r}
for kind in ("files", "runtime", "wheels"):
    spec, inputs = getattr(golden_layers, kind)(Path({folder!r}))
    for compression in ("gzip", "plain", "zstd"):
        print(packed(spec, inputs, compression=compression, threads={threads})[0])
"""


def outcome(folder: Path, *, no_isal: bool = False, threads: int = 1, umask: int = 0o022, **env: str) -> str:
    folder.mkdir(exist_ok=True)
    here = Path(__file__).parent
    path = [str(place) for place in (ROOT, here, here.parent)]
    program = PROGRAM.format(path=path, no_isal=no_isal, folder=str(folder), threads=threads)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        umask=umask,
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_environment_does_not_matter(tmp_path: Path) -> None:
    pytest.importorskip("isal", reason="needs `isal`, to compare with and without it")
    wanted = outcome(tmp_path / "a")
    assert wanted.count("Packed(") == 9
    assert outcome(tmp_path / "b", no_isal=True, TZ="Asia/Tokyo", PYTHONHASHSEED="1") == wanted
    assert outcome(tmp_path / "c", threads=3, umask=0o077, TZ="America/New_York", PYTHONHASHSEED="2") == wanted
    assert outcome(tmp_path / "d", LC_ALL="C", PYTHONUTF8="0", PYTHONHASHSEED="0", threads=2) == wanted


def test_order_of_entries_does_not_matter(tmp_path: Path) -> None:
    spec, inputs = golden_layers.files(tmp_path)
    wanted, _ = packed(spec, inputs)
    for seed in range(5):
        random.Random(seed).shuffle(spec["entries"])
        assert packed(spec, inputs)[0] == wanted


def layer(
    members: list[Member], *, compression: Compression, compress: bool = True, threads: int = 1
) -> tuple[Packed, bytes]:
    out = io.BytesIO()
    codec = codec_for(CODECS[compression], compression)
    result = write_layer(
        members, out=out, codec=codec, compression=compression, compress=compress, threads=threads, epoch=0
    )
    return result, out.getvalue()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    """Content of every kind, of many frames, some of it compressible."""
    folder = tmp_path_factory.mktemp("mixed")
    noise = random.Random(0).randbytes(3 * FRAME)
    text = b"".join(b"%d bottles of beer\n" % number for number in range(200_000))
    (folder / "noise").write_bytes(noise)
    raw = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = raw.compress(text) + raw.flush()
    (folder / "zip").write_bytes(b"head" + body + b"tail")
    spool = (folder / "spool").open("w+b")
    spool.write(text)
    spool.flush()
    deflated = Deflated(
        path=folder / "zip", offset=4, compressed_size=len(body), size=len(text), crc32=zlib.crc32(text)
    )
    return [
        Member(path="a/data", content=Data(text)),
        Member(path="b/slice", content=FileSlice(path=folder / "noise", offset=5, size=2 * FRAME)),
        Member(path="c/deflated", content=deflated),
        Member(path="d/spooled", content=Spooled(file=spool, offset=100, size=FRAME)),
        Member(path="e/small", content=Data(b"small")),
        *[Member(path=f"f/{number}", content=Data(b"x" * number)) for number in range(300)],
    ]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "plain"])
@pytest.mark.parametrize("compress", [True, False])
def test_threads_do_not_matter(compression: Compression, compress: bool, mixed: list[Member]) -> None:
    wanted = layer(mixed, compression=compression, compress=compress)
    for threads in (2, 5):
        assert layer(mixed, compression=compression, compress=compress, threads=threads) == wanted


def test_all_forms_hold_the_same_tar(mixed: list[Member]) -> None:
    plain, tar = layer(mixed, compression="plain")
    for compress in (True, False):
        result, blob = layer(mixed, compression="gzip", compress=compress)
        assert result.diff_id == plain.diff_id
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
            assert len(list(archive)) == len(mixed) + 6
    assert gzip.decompress(layer(mixed, compression="gzip")[1]) == tar
    assert gzip.decompress(layer(mixed, compression="gzip", compress=False)[1]) == tar
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(layer(mixed, compression="zstd")[1]), read_across_frames=True
    )
    assert reader.read() == tar


def test_a_failed_write_ends_its_threads(mixed: list[Member]) -> None:
    class Full:
        left = 1 << 20

        def write(self, data: bytes) -> None:
            self.left -= len(data)
            if self.left < 0:
                raise OSError(28, "No space left on device")

    before = threading.active_count()
    for compress in (True, False):
        with pytest.raises(OSError, match="No space left"):
            write_layer(
                mixed,
                out=Full(),
                codec=codec_for(Codec(), "gzip"),
                compression="gzip",
                compress=compress,
                threads=4,
                epoch=0,
            )
    assert threading.active_count() == before
