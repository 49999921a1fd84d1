"""METADATA of a wheel without the wheel: from beside it, out of its end, or from what is here."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.fetch import default_session
from builder.plan import Remote, Wheel
from builder.resolve import metadata
from builder.store import Store
from tests.cuda.ranges import served

TEXT = (
    "Metadata-Version: 2.1\nName: big\nVersion: 1.0\nRequires-Python: >=3.9\nRequires-Dist: six\n"
    "Requires-Dist: nvidia-cuda-runtime-cu12==12.8.90; platform_system == 'Linux'\n\nRequires-Dist: not this\n"
)
NEEDS = ("six", "nvidia-cuda-runtime-cu12==12.8.90; platform_system == 'Linux'")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    """A wheel of 3 MB, stored, with its METADATA at the end."""
    folder = tmp_path / "files"
    folder.mkdir()
    path = folder / "big-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("big/data.bin", bytes(3_000_000))
        archive.writestr("big-1.0.dist-info/METADATA", TEXT)
    data = path.read_bytes()
    return Wheel(name="big", version="1.0", filename=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def read(wheel: Wheel, *, url: str, store: Store) -> metadata.Metadata | None:
    remote = Remote(sha256=wheel.sha256, size=wheel.size, name=wheel.filename, urls=(url,) if url else ())
    return metadata.read_all([wheel], remotes=[remote], store=store, new_session=default_session).get("big")


def test_out_of_the_end_of_the_archive(wheel: Wheel, store: Store, tmp_path: Path) -> None:
    with served(tmp_path / "files") as sent:
        found = read(wheel, url=f"{sent.url}/{wheel.filename}", store=store)
        assert found is not None
        assert (found.name, found.version, found.requires_python) == ("big", "1.0", ">=3.9")
        assert found.requires == NEEDS
        assert 0 < sent.bytes[wheel.filename] < wheel.size / 4
        before = len(sent.asked)
        assert read(wheel, url=f"{sent.url}/{wheel.filename}", store=store) == found
        assert len(sent.asked) == before, "remembered"


def test_from_the_file_beside_it(wheel: Wheel, store: Store, tmp_path: Path) -> None:
    (tmp_path / "files" / f"{wheel.filename}.metadata").write_text(TEXT)
    with served(tmp_path / "files") as sent:
        found = read(wheel, url=f"{sent.url}/{wheel.filename}#sha256={wheel.sha256}", store=store)
        assert found is not None
        assert found.requires == NEEDS
        assert wheel.filename not in sent.bytes


def test_a_file_beside_it_that_is_none(wheel: Wheel, store: Store, tmp_path: Path) -> None:
    """Of a hostile index: neither read whole nor believed; the archive itself says it."""
    beside = tmp_path / "files" / f"{wheel.filename}.metadata"
    with beside.open("wb") as out:
        out.write(b"Metadata-Version: 2.1\nName: big\nVersion: 1.0\nRequires-Dist: evil\n")
        out.truncate(1 << 23)
    with served(tmp_path / "files") as sent:
        found = read(wheel, url=f"{sent.url}/{wheel.filename}", store=store)
    assert found is not None
    assert found.requires == NEEDS


def test_a_directory_that_is_too_large(
    wheel: Wheel, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "_MOST", 1000)
    with served(tmp_path / "files") as sent:
        assert read(wheel, url=f"{sent.url}/{wheel.filename}", store=store) is None
    assert wheel.filename not in sent.bytes


def test_from_this_disk(wheel: Wheel, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "files" / wheel.filename
    found = read(wheel, url=path.as_uri(), store=store)
    assert found is not None
    assert found.requires == NEEDS


def test_from_the_store(wheel: Wheel, store: Store, tmp_path: Path) -> None:
    assert metadata.unpacked_size(wheel, store=store) is None
    store.add_file(tmp_path / "files" / wheel.filename)
    found = read(wheel, url="", store=store)
    assert found is not None
    assert found.requires == NEEDS
    assert metadata.unpacked_size(wheel, store=store) == 3_000_000 + len(TEXT)


@pytest.mark.parametrize("damage", ["no ranges", "gone", "no archive"])
def test_what_cannot_be_read_is_not_known(wheel: Wheel, store: Store, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "files" / wheel.filename
    if damage == "gone":
        path.unlink()
    if damage == "no archive":
        path.write_bytes(bytes(wheel.size))
    with served(tmp_path / "files", ranges=damage != "no ranges") as sent:
        assert read(wheel, url=f"{sent.url}/{wheel.filename}", store=store) is None


def test_nobody_answers(wheel: Wheel, store: Store) -> None:
    assert read(wheel, url=f"http://127.0.0.1:1/{wheel.filename}", store=store) is None
