"""`cogsmith image` and `cogsmith cache`: by name and by digest, out and in again, and what a prune leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_projects import error, one_of

from tests.conftest import Cogsmith

FORMS = ["oci-dir", "oci-archive", "docker-archive"]


@pytest.fixture
def small(fresh: Cogsmith, two_images: tuple[Path, dict[str, str]]) -> tuple[Cogsmith, dict[str, str]]:
    """A store of the test's own with the images `tiny:amd64` and `tiny:arm64`, and their digests."""
    cache, digests = two_images
    shutil.copytree(cache, fresh.cache)
    return fresh, digests


def names(program: Cogsmith) -> list[str]:
    return [one["name"] for one in json.loads(program("image", "ls", "--json").out)]


def test_ls_and_inspect(small: tuple[Cogsmith, dict[str, str]]) -> None:
    program, digests = small
    head, *rows = program("image", "ls").out.splitlines()
    assert head.split() == ["NAME", "DIGEST", "PLATFORM", "LAYERS", "SIZE"]
    assert [row.split()[:4] for row in rows] == [
        [f"tiny:{machine}", digest[7:19], f"linux/{machine}", "1"] for machine, digest in sorted(digests.items())
    ]
    listed = json.loads(program("image", "ls", "--json").out)
    assert [(one["name"], one["digest"]) for one in listed] == [(f"tiny:{m}", d) for m, d in sorted(digests.items())]
    by_name = json.loads(program("image", "inspect", "--json", "tiny:arm64").out)
    assert {"digest", "manifest", "config"} <= by_name.keys()
    assert by_name["size"] == listed[1]["size"]
    assert by_name["config"]["architecture"] == "arm64"
    digest = digests["arm64"]
    for reference in (digest, digest[7:], digest[:20], digest[7:19]):
        assert json.loads(program("image", "inspect", "--json", reference).out) == by_name
    text = program("image", "inspect", "tiny:arm64").out
    assert f"Digest:      {digest}" in text
    assert "Platform:    linux/arm64" in text
    assert by_name["manifest"]["layers"][0]["digest"][7:19] in text


@pytest.mark.parametrize(
    "arguments",
    [["inspect", "absent"], ["inspect", "--json", "absent"], ["rm", "absent"], ["export", "absent", "out"]],
    ids=" ".join,
)
def test_unknown_name(small: tuple[Cogsmith, dict[str, str]], arguments: list[str], tmp_path: Path) -> None:
    program, _ = small
    said = error(program("image", *arguments, cwd=tmp_path, ok=False), 7)
    assert "there is no image `absent`" in said
    assert "there are: `tiny:amd64`, `tiny:arm64`" in said
    assert not (tmp_path / "out").exists()


def test_references_that_are_none(small: tuple[Cogsmith, dict[str, str]]) -> None:
    program, digests = small
    error(program("image", "inspect", "Not A Name", ok=False), 3)
    error(program("image", "inspect", f"tiny@{digests['arm64'][:-1]}", ok=False))
    error(program("image", "inspect", "sha256:" + "0" * 64, ok=False), 7)
    error(program("image", "inspect", "tiny", ok=False), 7)  # there is no tiny:latest


def test_rm(small: tuple[Cogsmith, dict[str, str]], tiny: Path, tmp_path: Path) -> None:
    program, digests = small
    one = one_of(tiny, "amd64", tmp_path / "one")
    program("image", "import", one, "-t", "second", "--platform", "linux/amd64")
    assert program("image", "rm", "tiny:amd64").out == "tiny:amd64\n"
    assert names(program) == ["second:latest", "tiny:arm64"]  # a name goes, not the image
    program("image", "import", one, "-t", "third:3", "--platform", "linux/amd64")
    done = program("image", "rm", digests["amd64"][7:15], "absent", ok=False)
    assert done.code == 7  # what could be done was done, and said
    assert done.out == f"{digests['amd64'][7:15]}\n"
    assert "`absent`" in done.err
    assert names(program) == ["tiny:arm64"]
    program("image", "rm", "tiny:arm64")
    assert program("image", "ls", "--json").out == "[]\n"
    assert "cogsmith build" in error(program("image", "inspect", "tiny:arm64", ok=False), 7)


@pytest.mark.parametrize("form", FORMS)
def test_out_and_in_again(
    small: tuple[Cogsmith, dict[str, str]], form: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program, digests = small
    done = program("image", "export", digests["arm64"][7:19], tmp_path / "out", "--form", form)
    assert done.out == ""
    assert "Exported tiny:arm64" in done.err
    other = Cogsmith(tmp_path_factory.mktemp("other"))
    back = other("image", "import", tmp_path / "out", "--platform", "linux/arm64")
    assert back.out.strip() == digests["arm64"]
    assert names(other) == ["tiny:arm64"]


def test_form_follows_the_name(small: tuple[Cogsmith, dict[str, str]], tmp_path: Path) -> None:
    program, _ = small
    program("image", "export", "tiny:amd64", "image.tar", cwd=tmp_path)
    program("image", "export", "tiny:amd64", "folder", cwd=tmp_path)
    assert (tmp_path / "image.tar").is_file()
    assert (tmp_path / "folder" / "oci-layout").is_file()
    error(program("image", "export", "tiny:amd64", "no/such/x.tar", cwd=tmp_path, ok=False), 7)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    error(program("image", "export", "tiny:amd64", "full", cwd=tmp_path, ok=False), 7)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_import_of_what_is_no_image(fresh: Cogsmith, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive")
    error(fresh("image", "import", tmp_path / "text.tar", ok=False), 7)
    error(fresh("image", "import", tmp_path, ok=False), 7)
    assert fresh("image", "import", tmp_path / "absent", ok=False).code == 2
    several = error(fresh("image", "import", tiny, ok=False), 7)
    assert "`tiny:amd64`, `tiny:arm64`" in several
    error(fresh("image", "import", tiny, "-t", f"x@sha256:{'0' * 64}", ok=False), 3)
    damaged = one_of(tiny, "amd64", tmp_path / "damaged")
    for blob in (damaged / "blobs" / "sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    error(fresh("image", "import", damaged, "--platform", "linux/amd64", ok=False), 7)
    assert names(fresh) == []


def kinds(program: Cogsmith) -> dict[str, int]:
    return {kind: one["count"] for kind, one in json.loads(program("cache", "ls", "--json").out)["kinds"].items()}


def test_cache_ls(small: tuple[Cogsmith, dict[str, str]]) -> None:
    program, _ = small
    data = json.loads(program("cache", "ls", "--json").out)
    assert data["root"] == str(program.cache / "cogsmith")
    assert (data["kinds"]["layers"]["count"], data["kinds"]["images"]["count"]) == (2, 4)
    blobs = (program.cache / "cogsmith" / "blobs" / "sha256").iterdir()
    assert sum(path.stat().st_size for path in blobs) == sum(data["kinds"][k]["size"] for k in ("layers", "images"))
    lines = program("cache", "ls").out.splitlines()
    assert lines[0].split() == ["KIND", "COUNT", "SIZE"]
    assert lines[-1].endswith(data["root"])


def test_prune(small: tuple[Cogsmith, dict[str, str]]) -> None:
    program, digests = small
    assert "freed 0 B" in program("cache", "prune").out  # images need all that is here
    program("image", "rm", "tiny:arm64")
    before = kinds(program)
    dry = program("cache", "prune", "--dry-run")
    assert "layers: 1" in dry.out
    assert "would free" in dry.out
    assert kinds(program) == before
    would = json.loads(program("cache", "prune", "--dry-run", "--json").out)
    gone = json.loads(program("cache", "prune", "--json").out)
    assert gone == would
    assert digests["arm64"] in {item["name"] for item in gone}
    assert (kinds(program)["layers"], kinds(program)["images"]) == (1, 2)
    assert names(program) == ["tiny:amd64"]
    program("cache", "prune", "--all")
    assert (kinds(program)["layers"], kinds(program)["images"]) == (0, 0)
    assert names(program) == []


def test_prune_to_a_size(small: tuple[Cogsmith, dict[str, str]]) -> None:
    program, _ = small
    program("image", "rm", "tiny:arm64")
    before = kinds(program)
    for size in ("1GB", "1.5 mb", "20000000"):
        assert "freed 0 B" in program("cache", "prune", "--max-size", size).out
    assert kinds(program) == before
    program("cache", "prune", "--max-size", "0")
    assert names(program) == ["tiny:amd64"]  # an image is never given up for a size
    assert kinds(program)["layers"] == 1
    for size in ("much", "-1", "10GiB", ""):
        done = program("cache", "prune", f"--max-size={size}", ok=False)
        assert (done.code, done.out) == (2, "")
        assert "20GB" in done.err


@pytest.mark.network
@pytest.mark.xdist_group("hello")
def test_out_of_one_store_into_another_and_run(archive: Path, hello: str, fresh: Cogsmith, containers: None) -> None:
    assert fresh("image", "import", archive, "-t", "again").out.strip() == hello
    assert fresh("run", "again", "-i", "text=again").out == "hello again\n"
    assert kinds(fresh)["unpacked"] == 5
    fresh("image", "rm", "again")
    fresh("cache", "prune")
    root = fresh.cache / "cogsmith"
    assert not list((root / "blobs" / "sha256").iterdir())
    assert not list((root / "unpacked").iterdir())
    assert "there is no image `again`" in error(fresh("run", "again", ok=False), 7)
