"""Requirements files as Cog reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_index import Told, make_wheel

from builder.errors import ConfigError
from builder.resolve import repository
from builder.resolve.requirements import Requirements, SourceLine, read


def lines(text: str, project: Path, told: Told | None = None) -> tuple[str, ...]:
    return read(text, project=project, report=told or Told()).lines


def test_comments_continuations_and_line_ends(tmp_path: Path) -> None:
    text = "\ufeffnumpy==1.0  # why\r\n# all \\\r\npillow\\\r\n  >=2 \\\r\n  ,<3\r\n\r\n   \n"
    text += "url-like#not-a-comment\n-e .\nlast \\\n"
    assert lines(text, tmp_path) == ("numpy==1.0", "pillow >=2 ,<3", "url-like#not-a-comment", "last")


def test_options_are_kept_and_inline_ones_get_lines_of_their_own(tmp_path: Path) -> None:
    text = """
--index-url https://a.invalid/simple
--extra-index-url=https://b.invalid/simple
-f https://c.invalid/links
-r https://d.invalid/more.txt
-c https://d.invalid/limits.txt
--pre
--trusted-host a.invalid
--prefer-binary
torch==2.0 --extra-index-url=https://e.invalid/cpu
"""
    found = read(text, project=tmp_path, report=Told())
    assert found == Requirements(
        lines=(
            "--index-url https://a.invalid/simple",
            "--extra-index-url https://b.invalid/simple",
            "-f https://c.invalid/links",
            "-r https://d.invalid/more.txt",
            "-c https://d.invalid/limits.txt",
            "torch==2.0",
            "--extra-index-url https://e.invalid/cpu",
        ),
        prereleases=True,
        trusted_hosts=("a.invalid",),
        has_index=True,
        has_extra_index=True,
        has_default_index=True,
    )


def test_hashes_are_read(tmp_path: Path) -> None:
    text = "Some.Name==1.0 \\\n  --hash=sha256:aa \\\n  --hash sha256:bb\nother\n"
    found = read(text, project=tmp_path, report=Told())
    assert found.lines == ("Some.Name==1.0", "other")
    assert found.hashes == (("some-name", ("sha256:aa", "sha256:bb")),)


def test_markers_extras_and_urls_pass(tmp_path: Path) -> None:
    given = (
        'a[b,c]>=1; python_version < "3.12"',
        "d @ https://a.invalid/d-1.0-py3-none-any.whl",
        "https://a.invalid/e-1.0-py3-none-any.whl",
    )
    assert lines("\n".join(given), tmp_path) == given


@pytest.mark.parametrize("line", ["cog", "cog==0.9", "Cog[x]>=1", "coglet"])
def test_cog_itself_is_removed_with_a_warning(tmp_path: Path, line: str, told: Told) -> None:
    assert lines(f"numpy\n{line}\n", tmp_path, told) == ("numpy",)
    assert f"'{line}' found in requirements" in told.warnings[0]


def test_cognition_is_not_cog(tmp_path: Path, told: Told) -> None:
    assert lines("cognition\ncog-x\n", tmp_path, told) == ("cognition", "cog-x")
    assert told.warnings == []


def test_local_wheels_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    wheel = make_wheel(tmp_path / "wheels", "mine")
    expected = (wheel.resolve().as_uri(),)
    assert lines(f"./wheels/{wheel.name}", tmp_path) == expected
    assert lines(f"wheels/{wheel.name}  # ours", tmp_path) == expected
    assert lines(os.fspath(wheel), tmp_path) == expected
    found = read(wheel.name, project=tmp_path, folder=tmp_path / "wheels", report=Told())
    assert found.lines == expected


def test_a_local_wheel_below_a_folder_with_a_number_sign(tmp_path: Path) -> None:
    (tmp_path / "build #7").mkdir()
    wheel = make_wheel(tmp_path / "build #7", "a-b")
    found = lines(wheel.name, tmp_path / "build #7")
    assert found == (f"a_b @ {wheel.resolve().as_uri()}",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-r more.txt", 'local requirements option "-r" is not supported: -r more.txt'),
        ("--requirement=more.txt", 'local requirements option "--requirement" is not supported'),
        ("-c limits.txt", 'local requirements option "-c" is not supported'),
        ("-f ./wheels", 'local requirements option "-f" is not supported'),
        ("--find-links /opt/x", 'local requirements option "--find-links" is not supported'),
        ("-e ./sub", "editable requirements are not supported: -e ./sub"),
        ("file:///opt/a-1.0-py3-none-any.whl", "local file URL requirements are not supported"),
        ("a @ file:///opt/a.whl", "local file URL requirements are not supported"),
        ("a @ ./a.whl", "local direct reference requirements (`name @ path`) are not supported"),
        ("./pkg", 'local package requirement "./pkg" is not a supported wheel or source archive'),
        ("missing-1.0-py3-none-any.whl", 'local Python package artifact "missing-1.0-py3-none-any.whl" not found'),
        ("folder.whl", 'local Python package artifact "folder.whl" must be a regular file'),
        ("../out-1.0-py3-none-any.whl", "must be inside the project directory"),
        ("link-1.0-py3-none-any.whl", "must be inside the project directory"),
        ("in-1.0-py3-none-any.whl --hash=sha256:a", "do not support inline options or hashes"),
        ("in-1.0-py3-none-any.whl ; python_version > '3'", "environment markers are not supported on local"),
        ("in-1.0-py3-none-any.whl[extra]", "extras are not supported on local"),
        ("f @ hg+https://a.invalid/f", "of version control systems only git is known"),
        ("f @ git+https://a.invalid/f ; python_version <", "`python_version <` is no marker"),
        ("git+https://a.invalid/f --hash=sha256:a", "a repository has no hash"),
        ("-rmore.txt", 'local requirements option "-r" is not supported: -rmore.txt'),
        ("-c limits.txt -i https://a.invalid", 'local requirements option "-c" is not supported: -c limits.txt'),
        ("numpy -U", "a requirements file has no such option: -U"),
        ("--no-deps", "a requirements file has no such option: --no-deps"),
    ],
)
def test_lines_that_are_refused(tmp_path: Path, line: str, message: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    make_wheel(project, "in")
    out = make_wheel(tmp_path, "out")
    (project / "link-1.0-py3-none-any.whl").symlink_to(out)
    (project / "folder.whl").mkdir()
    (project / "source-1.0.tar.gz").touch()
    with pytest.raises(ConfigError) as caught:
        lines(f"# first\n{line}\n", project)
    assert f"line 2: {message}" in (caught.value.details or "") or (
        (caught.value.details or "").startswith("line 2: ") and message in (caught.value.details or "")
    )


def test_every_problem_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        lines("-r a\nnumpy\n-e b\n", tmp_path)
    assert [item.split(":")[0] for item in (caught.value.details or "").splitlines()] == ["line 1", "line 3"]


def test_options_about_building_are_ignored_aloud(tmp_path: Path, told: Told) -> None:
    assert lines("--no-binary :all:\nnumpy --config-settings=a=b\n", tmp_path, told) == ("numpy",)
    assert [warning.split("`")[1] for warning in told.warnings] == ["--no-binary :all:", "--config-settings=a=b"]


def test_the_sdk_by_url_is_removed_too(tmp_path: Path, told: Told) -> None:
    assert lines("cog @ git+https://a.invalid/cog.git\n", tmp_path, told) == ()
    assert len(told.warnings) == 1


@pytest.mark.parametrize(
    "line",
    [
        "git+https://a.invalid/cog.git#egg=cog",
        "https://a.invalid/cog-1.0-py3-none-any.whl",
        "-e git+https://a.invalid/cog.git#egg=cog",
    ],
)
def test_the_sdk_by_a_url_that_names_it_is_removed_too(tmp_path: Path, line: str, told: Told) -> None:
    found = read(line, project=tmp_path, report=told)
    assert (found.lines, found.sources, len(told.warnings)) == ((), (), 1)


def test_options_on_one_line_and_short_ones(tmp_path: Path) -> None:
    found = read("-ihttps://a.invalid --extra-index-url=https://b.invalid\n", project=tmp_path, report=Told())
    assert found.lines == ("-i https://a.invalid", "--extra-index-url https://b.invalid")
    assert found.has_default_index and found.has_extra_index


def test_hashes_of_what_is_at_a_url(tmp_path: Path) -> None:
    text = "https://a.invalid/F_f-1.0-py3-none-any.whl --hash=sha256:AA\n--require-hashes\n"
    found = read(f"{text}g @ https://a.invalid/g-1.zip --hash=sha256:bb\n", project=tmp_path, report=Told())
    assert found.hashes == (("f-f", ("sha256:aa",)),) and found.require_hashes
    assert [source.hashes for source in found.sources] == [("sha256:bb",)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("source-1.0.tar.gz", {"kind": "archive", "name": "", "place": "PROJECT/source-1.0.tar.gz"}),
        (
            "git+https://user@a.invalid/f.git@main",
            {"kind": "git", "name": "", "place": "https://user@a.invalid/f.git@main"},
        ),
        (
            "F_f[x, y] @ git+https://a.invalid/f.git@v1#subdirectory=sub/ ; python_version > '3.9'",
            {
                "kind": "git",
                "name": "f-f",
                "extras": "[x, y]",
                "place": "https://a.invalid/f.git@v1",
                "subdirectory": "sub",
                "marker": "python_version > '3.9'",
            },
        ),
        (
            "git+https://a.invalid/f.git#egg=f; python_version < '3'",
            {"kind": "git", "name": "f", "place": "https://a.invalid/f.git", "marker": "python_version < '3'"},
        ),
        ("git+ssh://git@a.invalid/f#egg=f", {"kind": "git", "name": "f", "place": "ssh://git@a.invalid/f"}),
        (
            "f @ https://a.invalid/f-1.0.tar.gz#sha256=00",
            {"kind": "archive", "name": "f", "place": "https://a.invalid/f-1.0.tar.gz", "sha256": "00"},
        ),
        ("https://a.invalid/f-1.0.zip", {"kind": "archive", "name": "", "place": "https://a.invalid/f-1.0.zip"}),
    ],
)
def test_sources(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    (tmp_path / "source-1.0.tar.gz").write_bytes(b"")
    found = read(line, project=tmp_path, report=Told())
    assert found.lines == ()
    (source,) = found.sources
    place = expected["place"].replace("PROJECT", os.fspath(tmp_path.resolve()))
    assert source == SourceLine(**{"text": line, **expected, "place": place})


@pytest.mark.parametrize(
    ("place", "url", "revision", "shown"),
    [
        ("https://a.invalid/f.git@v1", "https://a.invalid/f.git", "v1", "https://a.invalid/f.git"),
        ("https://token@a.invalid/f.git", "https://token@a.invalid/f.git", "", "https://a.invalid/f.git"),
        ("ssh://git:pw@a.invalid/f@a/b", "ssh://git:pw@a.invalid/f", "a/b", "ssh://git@a.invalid/f"),
    ],
)
def test_addresses_of_repositories(place: str, url: str, revision: str, shown: str) -> None:
    assert repository.split(place) == (url, revision)
    assert repository.public(url) == shown
