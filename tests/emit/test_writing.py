"""`-o DIR`: whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.emitting import write_among, write_folder
from builder.emit.files import Emitted, is_sealed, sealed, sums, text
from builder.errors import ConfigError


def files(*names: str) -> list[Emitted]:
    made = [text(name, f"{name}\n") for name in names]
    return [*made, Emitted(path="link", target="one"), sums(made)]


def there(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_what_was_emitted_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "below" / "out"
    write_folder(files("one", "two\\x\ny"), folder=out, epoch=1)
    assert there(out) == {"one", "two\\x\ny", "link", "SHA256SUMS"}
    write_folder(files("one", "three/four"), folder=out, epoch=1)
    assert there(out) == {"one", "three", "three/four", "link", "SHA256SUMS"}
    assert there(tmp_path / "below") == {"out", *(f"out/{name}" for name in there(out))}  # no draft is left
    (tmp_path / "empty").mkdir()
    write_folder(files("one"), folder=tmp_path / "empty", epoch=1)


def test_what_somebody_else_wrote_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(files("one", "two"), folder=out, epoch=1)
    (out / "mine").write_text("mine")
    (out / "two").write_text("changed")
    before = there(out)
    with pytest.raises(ConfigError) as caught:
        write_folder(files("one"), folder=out, epoch=1)
    assert caught.value.details == "not from here: mine\nchanged since: two"
    assert there(out) == before
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "cog.yaml").write_text("build: {}\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(out)
    (tmp_path / "folders").mkdir()
    (tmp_path / "folders" / "one").mkdir()
    for name in ("foreign", "file", "link", "folders"):
        with pytest.raises(ConfigError):
            write_folder(files("one"), folder=tmp_path / name, epoch=1)


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    broken = [*files("one"), Emitted(path="lost", source=tmp_path / "gone", sha256="0" * 64)]
    with pytest.raises(ConfigError, match="could not write"):
        write_folder(broken, folder=tmp_path / "out", epoch=1)
    assert there(tmp_path) == set()


def test_one_file_among_others(tmp_path: Path) -> None:
    file = text(".github/workflows/image.yml", sealed("name: image\n", comment="#"))
    place = write_among(file, folder=tmp_path)
    assert place.read_bytes() == file.data
    write_among(text(file.path, sealed("name: other\n", comment="#")), folder=tmp_path)
    assert is_sealed(place.read_text())
    for content in ("mine", place.read_text() + "# changed\n"):
        place.write_text(content)
        with pytest.raises(ConfigError, match="is not as Cogsmith wrote it"):
            write_among(file, folder=tmp_path)
        assert place.read_text() == content
    assert [path.name for path in place.parent.iterdir()] == ["image.yml"]
