"""What an index may do to a project: take a version back, lose a file, replace one.  Each is one clear error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from json_index import JsonIndex

from tests.conftest import Cogsmith

pytestmark = pytest.mark.network  # of the base


@pytest.fixture
def moody(tmp_path: Path) -> Iterator[JsonIndex]:
    folder = tmp_path / "moody"
    folder.mkdir()
    index = JsonIndex(folder)
    yield index
    index.close()


@pytest.fixture
def made(locked_hello: Path, tmp_path: Path, moody: JsonIndex) -> Path:
    """A project whose requirements name that index."""
    folder = tmp_path / "project"
    shutil.copytree(locked_hello, folder)
    text = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(text.replace("build:\n", "build:\n  python_requirements: requirements.txt\n", 1))
    return folder


def ask(folder: Path, index: JsonIndex, *lines: str) -> None:
    (folder / "requirements.txt").write_text("\n".join([f"--index-url {index.url}", *lines, ""]))


def test_yanked_versions(cogsmith: Cogsmith, made: Path, moody: JsonIndex) -> None:
    moody.add("moody_one", "1.0", yanked="it eats files")
    ask(made, moody, "moody-one")
    refused = cogsmith("lock", "--no-layers", cwd=made, ok=False)
    assert refused.code == 4
    assert "error: of `moody-one` there are only versions that are yanked" in refused.err
    assert "it eats files" in refused.err
    assert "hint: ask for one of them by its very number" in refused.err
    ask(made, moody, "moody-one==1.0")
    locked = cogsmith("lock", "--no-layers", cwd=made)
    assert "`moody-one==1.0` is yanked, its publisher took it back (it eats files)" in locked.err
    ask(made, moody, "moody-one")
    moody.add("moody_one", "0.9")
    again = cogsmith("lock", "--no-layers", "--upgrade", cwd=made)
    assert "moved moody-one 1.0 to 0.9" in again.err
    assert "is yanked" not in again.err

    # A version that is taken back later: what is locked is still built, and said when it is locked again.
    held = moody.files["moody_one-0.9-py3-none-any.whl"]
    held.yanked = True
    assert "is yanked" not in cogsmith("build", "--locked", "-t", "yanked-later", cwd=made).err
    ask(made, moody, "moody-one<2")
    assert "`moody-one==0.9` is yanked, its publisher took it back:" in cogsmith("lock", "--no-layers", cwd=made).err


def test_files_that_vanish_or_are_replaced(cogsmith: Cogsmith, made: Path, moody: JsonIndex) -> None:
    held = moody.add("moody_two", "1.0")
    content, held.content = held.content, None
    ask(made, moody, "moody-two")
    locked = cogsmith("lock", "--no-layers", cwd=made)  # from the metadata, which the index has apart
    assert "added moody-two 1.0" in locked.err
    for command in (["lock"], ["build", "--locked"]):
        gone = cogsmith(*command, cwd=made, ok=False)
        assert "error: could not download `moody_two-1.0-py3-none-any.whl`" in gone.err
        assert "HTTP status 404" in gone.err
        assert "hint: the index has the file no more: `cogsmith lock --upgrade=NAME` takes another version" in gone.err
    assert content is not None
    held.content = content[:-1] + b"x"
    for command in (["lock"], ["build", "--locked"]):
        replaced = cogsmith(*command, cwd=made, ok=False)
        assert "error: could not download `moody_two-1.0-py3-none-any.whl`" in replaced.err
        assert f"expected sha256 {held.sha256}, got " in replaced.err
        assert "hint: the file was replaced, or something on the way changes it" in replaced.err

    # Without metadata of its own there is nothing to resolve from.
    held.content, held.metadata = None, b""
    (made / "pylock.cog.toml").unlink()
    lost = cogsmith("lock", "--no-layers", cwd=made, env={"UV_NO_CACHE": "1"}, ok=False)
    assert lost.code == 4
    assert "error: the index lists a file that is gone: http://127.0.0.1:" in lost.err
    assert "moody_two-1.0-py3-none-any.whl" in lost.err
    assert "hint: ask for another version, or look in another index" in lost.err
