"""The flags that commands share: what is parsed, refused, and what they change."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from small_projects import SOURCE, error, write_project

from builder.cli import secrets
from builder.cli.run import run
from builder.errors import ConfigError
from tests.conftest import Cogsmith

LOCKED = ("build", "-q", "--locked")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A project on a base that costs nothing, with a name of its own."""
    return write_project(tmp_path / "p", base=f"oci:{tiny}:tiny:amd64")


class TestSecrets:
    @pytest.mark.parametrize(
        ("text", "secret"),
        [
            ("id=a,src=b.txt", secrets.Secret(id="a", path=Path("/p/b.txt"))),
            ("id=a,source=/x/b", secrets.Secret(id="a", path=Path("/x/b"))),
            ("type=file,id=a,src=b", secrets.Secret(id="a", path=Path("/p/b"))),
            ("id=a,env=TOKEN", secrets.Secret(id="a", variable="TOKEN")),
            ("id=TOKEN", secrets.Secret(id="TOKEN", variable="TOKEN")),
            ("type=env,id=a", secrets.Secret(id="a", variable="a")),
            ("type=env,id=a,src=TOKEN", secrets.Secret(id="a", variable="TOKEN")),
            ('id=a,"src=b,c"', secrets.Secret(id="a", path=Path("/p/b,c"))),
        ],
    )
    def test_forms(self, text: str, secret: secrets.Secret) -> None:
        assert secrets.parse(text, folder=Path("/p")) == secret

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("id", 'invalid field "id" must be a key=value pair'),
            ("", 'invalid field "" must be a key=value pair'),
            ("id=a,colour=red", "unexpected key 'colour' in 'colour=red'"),
            ("id=a,type=gpg", 'unsupported secret type "gpg"'),
            ("src=x", "has no id"),
            ('"id=a', "cannot be read"),
        ],
    )
    def test_refused(self, text: str, said: str) -> None:
        with pytest.raises(ConfigError) as problem:
            secrets.parse(text, folder=Path("/p"))
        assert said in problem.value.brief

    def test_values(self, tmp_path: Path) -> None:
        (tmp_path / "t").write_bytes(b"\0one\n")
        asked = [secrets.parse(text, folder=tmp_path) for text in ("id=a,src=t", "id=b,env=TWO")]
        assert secrets.read(asked, env={"TWO": "zwei"}) == {"a": b"\0one\n", "b": b"zwei"}
        with pytest.raises(ConfigError, match="no variable `TWO`"):
            secrets.read(asked, env={})
        (tmp_path / "t").unlink()
        with pytest.raises(ConfigError, match="could not read the secret `a`"):
            secrets.read(asked, env={"TWO": "zwei"})

    def test_a_wrong_one_stops_the_build(self, fresh: Cogsmith, folder: Path) -> None:
        done = fresh("build", "--secret", "id=a,type=gpg", cwd=folder, ok=False)
        assert (done.code, done.out) == (3, "")
        assert 'unsupported secret type "gpg"' in done.err


class TestGo:
    """What programs written in Go take, and so Cog."""

    def test_short_options_with_an_equals_sign(self, cogsmith: Cogsmith, tmp_path: Path) -> None:
        folder = write_project(tmp_path / "p")
        (folder / "cog.yaml").rename(folder / "a=b.yaml")
        plain = cogsmith("schema", "-f", "a=b.yaml", cwd=folder)
        assert cogsmith("schema", "-f=a=b.yaml", cwd=folder).out == plain.out
        done = cogsmith("run", "-f=a=b.yaml", "-i=color=red", cwd=folder, ok=False)
        assert 'unknown input "color"' in done.err

    def test_values_of_flags(self, cogsmith: Cogsmith, tmp_path: Path) -> None:
        folder = write_project(tmp_path / "p")
        compact = cogsmith("schema", "--compact=true", cwd=folder).out
        assert compact.count("\n") == 1
        assert cogsmith("schema", "--compact=false", cwd=folder).out.count("\n") > 1
        done = cogsmith("lock", "--check=false", "--platform=none", cwd=folder, ok=False)
        assert "`none` is none of linux/amd64" in done.err

    @pytest.mark.parametrize(
        ("words", "plain"),
        [
            (["-o=out.txt"], ["-o", "out.txt"]),
            (["-o="], ["-o", ""]),
            (["-i=a=b"], ["-i", "a=b"]),
            (["-ia=b"], ["-ia=b"]),
            (["-o", "x=y"], ["-o", "x=y"]),
            (["--output=x"], ["--output=x"]),
            (["--", "-o=x"], ["--", "-o=x"]),
        ],
    )
    def test_words(self, words: list[str], plain: list[str]) -> None:
        assert list(run.plain(words, ctx=click.Context(run))) == plain


class TestGlobal:
    """Options that stand anywhere."""

    @pytest.mark.parametrize(
        ("words", "traceback"),
        [
            (["--debug", "schema", "nowhere"], True),
            (["--registry", "localhost", "--debug", "schema", "nowhere"], True),
            (["schema", "--debug", "nowhere"], True),
            (["--debug=false", "schema", "nowhere"], False),
            (["schema", "nowhere", "--debug=false", "--no-color", "--profile"], False),
            (["exec", "--debug", "true"], True),
            (["exec", "true", "--debug"], False),
            (["image", "--debug", "inspect", "absent"], True),
        ],
    )
    def test_traceback(self, cogsmith: Cogsmith, tmp_path: Path, words: list[str], traceback: bool) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "builder.cli", *words],
            cwd=tmp_path,
            env=cogsmith.env(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ("Traceback (most recent" in done.stderr, "error: " in done.stderr) == (traceback, not traceback)
        assert ("builder.errors." in done.stderr) == traceback
        assert done.returncode == (7 if "image" in words else 3)

    def test_registry_after_the_name(self, fresh: Cogsmith, tmp_path: Path) -> None:
        folder = write_project(tmp_path / "p")
        for words in (["build"], ["run", "-i", "text=x"]):
            flags = ["--registry", "127.0.0.1:9", "--use-cog-base-image"]
            done = fresh(words[0], *flags, *words[1:], cwd=folder, ok=False)
            assert "building on 127.0.0.1:9/cog-base:python3.11" in done.err

    def test_no_color(self, fresh: Cogsmith, terminal: Callable[..., tuple[str, str]]) -> None:
        _, seen = terminal(fresh, "image", "inspect", "--no-color", "absent")
        assert "there is no image" in seen
        assert "\x1b[31m" not in seen

    def test_help_has_them_once(self, cogsmith: Cogsmith) -> None:
        assert "--no-color" not in cogsmith("build", "--help").out
        root = cogsmith("--help").out
        assert (root.count("--debug"), root.count("--no-color"), root.count("--profile")) == (1, 1, 0)


class TestFile:
    """`-f`: the project is the folder of the file that it names."""

    @pytest.fixture
    def pair(self, tmp_path: Path) -> tuple[Path, Path]:
        """Two projects whose models have an input each, the second below the first."""
        here = write_project(tmp_path / "here", source=SOURCE.replace("text", "near"))
        there = write_project(here / "there", source=SOURCE.replace("text", "far"))
        (there / "cog.yaml").rename(there / "other.yaml")
        return here, there

    @pytest.mark.parametrize("whole", [False, True])
    def test_project_of_a_file_elsewhere(self, cogsmith: Cogsmith, pair: tuple[Path, Path], whole: bool) -> None:
        here, there = pair
        name = there / "other.yaml" if whole else Path("there", "other.yaml")
        document = json.loads(cogsmith("schema", "-f", name, cwd=here).out)
        assert list(document["components"]["schemas"]["Input"]["properties"]) == ["far"]

    def test_doctor_mends_the_file_that_is_named(self, cogsmith: Cogsmith, pair: tuple[Path, Path]) -> None:
        here, there = pair
        (there / "other.yaml").write_text((there / "other.yaml").read_text().replace("run: ", "predict: "))
        before = (here / "cog.yaml").read_text()
        skip = {"COG_SKIP_DOCKER_CHECK": "1"}
        done = cogsmith("doctor", "--fix", "-f", "there/other.yaml", cwd=here, env=skip)
        assert f"{there / 'other.yaml'} is valid" in done.out
        assert 'run: "run.py:Runner"' in (there / "other.yaml").read_text()
        assert (here / "cog.yaml").read_text() == before

    @pytest.mark.parametrize("words", [["schema", "-f", "A" * 300], ["schema", "A" * 300], ["build", "A" * 300]])
    def test_name_that_no_file_can_have(self, cogsmith: Cogsmith, tmp_path: Path, words: list[str]) -> None:
        error(cogsmith(*words, cwd=tmp_path, ok=False), 3)


@pytest.mark.network
class TestBuild:
    def test_project_of_a_file_elsewhere(self, cogsmith: Cogsmith, folder: Path, tmp_path: Path) -> None:
        other = write_project(tmp_path / "other")
        done = cogsmith("build", "-f", folder / "cog.yaml", cwd=other)
        assert f"Building cog-p from {folder / 'cog.yaml'}\n" in done.err
        assert done.out == cogsmith("build", cwd=folder).out

    def test_what_changes_nothing_says_so(self, cogsmith: Cogsmith, folder: Path) -> None:
        plain = cogsmith("build", cwd=folder)
        flags = ["--strip", "--precompile", "--separate-weights", "--use-cuda-base-image=auto"]
        done = cogsmith("build", *flags, cwd=folder)
        assert done.out == plain.out
        for flag in flags[:3]:
            assert f"`{flag}` changes nothing" in done.err

    def test_go_s_way_with_flags(self, cogsmith: Cogsmith, folder: Path) -> None:
        plain = cogsmith("build", cwd=folder)
        done = cogsmith("build", "--strip=false", "--no-cache=0", "--use-cog-base-image=false", cwd=folder)
        assert done.out == plain.out
        assert "`--strip`" not in done.err
        assert "`--strip`" in cogsmith("build", "--strip=true", cwd=folder).err

    @pytest.mark.parametrize(
        ("flags", "first", "second"),
        [
            (["--use-cog-base-image", "--use-cuda-base-image=true"], "use-cog-base-image", "use-cuda-base-image"),
            (["--dockerfile", "D", "--use-cog-base-image=false"], "use-cog-base-image", "dockerfile"),
            (["--use-cuda-base-image", "auto", "--dockerfile=D"], "use-cuda-base-image", "dockerfile"),
        ],
    )
    def test_exclusive(self, fresh: Cogsmith, folder: Path, flags: list[str], first: str, second: str) -> None:
        for command in (["build"], ["exec"]):
            done = fresh(*command, *flags, *(["true"] if command == ["exec"] else []), cwd=folder, ok=False)
            assert (done.code, done.out) == (2, "")
            text = " ".join(done.err.split())
            assert f"The flags --{first} and --{second} are mutually exclusive: you can only set one of them." in text

    def test_timestamp_is_the_epoch(self, cogsmith: Cogsmith, folder: Path) -> None:
        by_flag = cogsmith("build", "--timestamp", "1000000000", cwd=folder)
        by_variable = cogsmith("build", cwd=folder, env={"SOURCE_DATE_EPOCH": "1000000000"})
        assert by_flag.out == by_variable.out
        default = cogsmith("build", cwd=folder)
        assert default.out != by_flag.out
        assert cogsmith("build", "--timestamp=-1", cwd=folder).out == default.out
        assert cogsmith("build", "--timestamp=-2", cwd=folder, ok=False).code == 2

    def test_schema_of_the_user_s_own(self, cogsmith: Cogsmith, folder: Path, tmp_path: Path) -> None:
        document = json.loads(cogsmith("schema", cwd=folder).out)
        document["components"]["schemas"]["Input"]["properties"]["text"]["description"] = "by hand"
        (tmp_path / "own.json").write_text(json.dumps(document))
        plain = cogsmith("build", cwd=folder)
        own = cogsmith("build", "--openapi-schema", tmp_path / "own.json", "-t", "own", cwd=folder)
        assert own.out != plain.out
        labels = json.loads(cogsmith("image", "inspect", "--json", "own").out)["config"]["config"]["Labels"]
        assert "by hand" in labels["run.cog.openapi_schema"]
        by_variable = cogsmith("build", "-t", "own", cwd=folder, env={"COG_OPENAPI_SCHEMA": str(tmp_path / "own.json")})
        assert by_variable.out == own.out
        (tmp_path / "own.json").write_text('{"openapi": 3}')
        refused = cogsmith("build", "--openapi-schema", tmp_path / "own.json", cwd=folder, ok=False)
        assert refused.code == 12
        assert "Model schema is invalid" in refused.err
        absent = cogsmith("build", "--openapi-schema", "none.json", cwd=folder, ok=False)
        assert "none.json" in absent.err
        assert absent.code != 0

    def test_source_that_no_schema_can_be_made_of(self, cogsmith: Cogsmith, folder: Path) -> None:
        (folder / "run.py").write_text(SOURCE.replace('text: str = "x"', "text"))
        assert "'text'" in cogsmith("build", cwd=folder, ok=False).err
        assert cogsmith("build", "--skip-schema-validation", cwd=folder).out.startswith("sha256:")

    def test_cog_s_own_base(self, fresh: Cogsmith, tmp_path: Path) -> None:
        """Only its name can be seen here: there is no such registry."""
        folder = write_project(tmp_path / "q", requirements="torch==2.5.1\nnumpy\n")
        flags = ["--registry", "127.0.0.1:9", "build", "--use-cog-base-image"]
        done = fresh(*flags, cwd=folder, ok=False)
        assert "building on 127.0.0.1:9/cog-base:python3.11-torch2.5.1" in done.err
        assert done.code not in (0, 1, 2)
        done = fresh(*flags[2:], cwd=folder, ok=False, env={"COG_REGISTRY_HOST": "127.0.0.1:9"})
        assert "building on 127.0.0.1:9/cog-base:python3.11-torch2.5.1" in done.err

    def test_cog_s_own_base_goes_by_the_python(self, fresh: Cogsmith, tmp_path: Path) -> None:
        folder = write_project(tmp_path / "q")
        (folder / "cog.yaml").write_text('run: "run.py:Runner"\n')
        done = fresh("build", "--use-cog-base-image", cwd=folder, ok=False)
        assert 'python_version: "3.13"' in error(done, 3)

    @pytest.mark.parametrize("progress", ["auto", "tty", "plain", "quiet"])
    def test_progress(self, cogsmith: Cogsmith, folder: Path, progress: str) -> None:
        done = cogsmith("build", "--progress", progress, cwd=folder)
        assert done.out.startswith("sha256:")
        assert ("\x1b" in done.err) == (progress == "tty")
        assert ("Image built as" in done.err) == (progress != "quiet")

    def test_progress_of_buildkit_s_variable(self, cogsmith: Cogsmith, folder: Path) -> None:
        assert cogsmith("build", cwd=folder, env={"BUILDKIT_PROGRESS": "quiet"}).err == ""
        assert cogsmith("build", cwd=folder, env={"BUILDKIT_PROGRESS": "quiet", "TERM": "dumb"}).err == ""
        assert "\x1b" not in cogsmith("build", cwd=folder, env={"TERM": "dumb"}).err
        assert cogsmith("build", "--progress", "loud", cwd=folder, ok=False).code == 2


def test_no_color_wins_over_the_terminal(fresh: Cogsmith, terminal: Callable[..., tuple[str, str]]) -> None:
    _, seen = terminal(fresh, "image", "inspect", "absent")
    assert "\x1b[31merror\x1b[0m" in seen
    _, seen = terminal(fresh, "--no-color", "image", "inspect", "absent")
    assert "\x1b[31m" not in seen
