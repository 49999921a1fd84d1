"""`cogsmith run`: inputs in, outputs out, and what a failing model says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_projects import descendants, end, error, eventually, gone, one_of, start

from tests.conftest import Cogsmith, Done

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello"), pytest.mark.usefixtures("containers")]

WORDS = """
import json
import os
import time
from typing import Optional

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def setup(self):
        print("setting up")
        if os.environ.get("SETUP") == "fail":
            raise RuntimeError("the weights are missing")
        while os.environ.get("SETUP") == "hang":
            time.sleep(1)

    def run(
        self,
        words: list[str],
        count: int = Input(default=1, ge=1, le=5),
        file: Optional[Path] = Input(default=None),
        fail: bool = False,
    ) -> str:
        if fail:
            raise ValueError("no such thing as " + words[0])
        content = file.read_text() if file else None
        if content and len(content) > 1000:
            content = f"{len(content)} characters, {file.suffix}"
        return json.dumps([words, count, content, os.environ.get("SAID")], ensure_ascii=False)
"""
FILES = """
from cog import BaseRunner, Path


class Runner(BaseRunner):
    def run(self, texts: list[str]) -> list[Path]:
        paths = []
        for number, text in enumerate(texts):
            path = Path(f"/tmp/{number}.txt")
            path.write_text(text)
            paths.append(path)
        return paths
"""


@pytest.fixture(scope="session")
def words(cogsmith: Cogsmith, model: Callable[[Path, str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image that tells what it was given; it shares all but its code with hello-world."""
    folder = model(tmp_path_factory.mktemp("words"), WORDS)
    cogsmith("build", "-q", "--locked", "-t", "words", cwd=folder)
    return "words"


@pytest.fixture(scope="session")
def files(cogsmith: Cogsmith, model: Callable[[Path, str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image that answers with files."""
    folder = model(tmp_path_factory.mktemp("files"), FILES)
    cogsmith("build", "-q", "--locked", "-t", "files", cwd=folder)
    return "files"


def test_inputs_of_all_kinds(cogsmith: Cogsmith, words: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("naïve")
    options = ["-i", "words=a", "-i", "words=b=c", "-i", "count=3", "-i", "file=@note.txt", "-e", "SAID=twice over"]
    done = cogsmith("run", words, *options, cwd=tmp_path, env={"PYTHONUTF8": "0", "LC_ALL": "C"})
    assert json.loads(done.out) == [["a", "b=c"], 3, "naïve", "twice over"]
    assert "naïve" in done.out
    assert "setting up" in done.err  # what the model prints is no data
    assert not {"\r", "\x1b"} & set(done.err)


@pytest.mark.parametrize("form", ["-i", "--json"])
def test_a_large_file(cogsmith: Cogsmith, words: str, tmp_path: Path, form: str) -> None:
    """It is no part of the request, which the server would refuse: the model fetches it from this program."""
    (tmp_path / "large.csv").write_text("x" * (120 << 20))
    options = ["-i", "words=x", "-i", "file=@large.csv"]
    if form == "--json":
        options = ["--json", '{"words": ["x"], "file": "@large.csv"}']
    done = cogsmith("run", words, *options, cwd=tmp_path)
    output = json.loads(done.out)["output"] if form == "--json" else done.out
    assert json.loads(output)[2] == f"{120 << 20} characters, .csv"


def test_numbers_arrive_as_they_were_written(
    cogsmith: Cogsmith, model: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """Also those that no 32-bit integer and no 32-bit float can hold."""
    folder = model(
        tmp_path / "n",
        "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n"
        "    def run(self, seed: int, scale: float) -> list[str]:\n        return [repr(seed), repr(scale)]\n",
    )
    seed, scale = "123456789012345678901234567890", "0.30000000000000004"
    for options in (
        ["-i", f"seed={seed}", "-i", f"scale={scale}"],
        ["--json", f'{{"seed": {seed}, "scale": {scale}}}', "-o", "/dev/stdout"],
    ):
        done = cogsmith("run", *options, cwd=folder)
        output = json.loads(done.out)
        assert (output["output"] if "--json" in options else output) == [seed, scale]


def test_an_image_that_does_not_tell_its_inputs(
    cogsmith: Cogsmith, model: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """As images of old have it: the label is missing, and the server is asked."""
    folder = model(tmp_path / "mute", WORDS)
    cogsmith("build", "--locked", "-t", "mute", cwd=folder)
    cogsmith("image", "export", "mute", tmp_path / "mute-oci")
    unlabelled(tmp_path / "mute-oci")
    cogsmith("image", "import", tmp_path / "mute-oci", "-t", "mute")
    done = cogsmith("run", "mute", "-i", "words=a", "-i", "count=3", cwd=tmp_path)
    assert json.loads(done.out)[:2] == [["a"], 3]
    done = cogsmith("run", "mute", "-i", "words=a", "-i", "count=9", cwd=tmp_path, ok=False)
    assert 'invalid input "count": must be at most 5' in error(done, 13)


def unlabelled(layout: Path) -> None:
    """Take the schema's label out of an OCI layout's image."""

    def change(descriptor: dict[str, Any], edit: Callable[[Any], None]) -> None:
        path = layout / "blobs" / descriptor["digest"].replace(":", "/")
        document = json.loads(path.read_text())
        edit(document)
        data = json.dumps(document).encode()
        descriptor["digest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        descriptor["size"] = len(data)
        (layout / "blobs" / descriptor["digest"].replace(":", "/")).write_bytes(data)

    index = json.loads((layout / "index.json").read_text())
    change(
        index["manifests"][0],
        lambda manifest: change(
            manifest["config"], lambda config: config["config"]["Labels"].pop("run.cog.openapi_schema")
        ),
    )
    (layout / "index.json").write_text(json.dumps(index))


def test_use_replicate_token(cogsmith: Cogsmith, model: Callable[[Path, str], Path], tmp_path: Path) -> None:
    folder = model(
        tmp_path / "t",
        "from cog import BaseRunner, current_scope\n\n\nclass Runner(BaseRunner):\n"
        "    def run(self) -> str:\n        return str(current_scope().context)\n",
    )
    refused = cogsmith("run", "--use-replicate-token", cwd=folder, ok=False, env={"REPLICATE_API_TOKEN": ""})
    assert "Failed to find REPLICATE_API_TOKEN in the current environment" in error(refused, 13)
    done = cogsmith("run", "--use-replicate-token", cwd=folder, env={"REPLICATE_API_TOKEN": "r8_x"})
    assert done.out == "{'replicate_api_token': 'r8_x'}\n"


def test_json_in_and_out(cogsmith: Cogsmith, words: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("note")
    (tmp_path / "inputs.json").write_text(json.dumps({"words": ["x"], "file": "@note.txt"}))
    options = ["--json", "@inputs.json", "-e", "SAID", "-o", "answer"]
    done = cogsmith("run", words, *options, cwd=tmp_path, env={"SAID": "handed on"})
    assert done.out == ""
    assert "warning: --output value does not have a .json suffix: answer" in done.err
    answer = json.loads((tmp_path / "answer").read_text())
    assert answer["status"] == "succeeded"
    assert json.loads(answer["output"]) == [["x"], 1, "note", "handed on"]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"answer", "inputs.json", "note.txt"}


def test_files_are_numbered(cogsmith: Cogsmith, files: str, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    done = cogsmith("run", files, "--json", '{"texts": ["one", "two"]}', "-o", "made/of.json", cwd=tmp_path)
    assert done.out == ""
    answer = json.loads((tmp_path / "made" / "of.json").read_text())
    assert [Path(name).read_text() for name in answer["output"]] == ["one", "two"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["of.0.txt", "of.1.txt", "of.json"]


def test_a_folder_where_files_are_to_go(cogsmith: Cogsmith, files: str, tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    said = error(cogsmith("run", files, "-i", "texts=one", cwd=tmp_path, ok=False))
    assert said.startswith('error: Default output name "output" conflicts with directory, provide --output')


def test_failing_model(cogsmith: Cogsmith, words: str) -> None:
    done = cogsmith("run", words, "-i", "words=luck", "-i", "fail=true", ok=False)
    assert (done.code, done.out) == (1, "")
    assert (
        'error: Prediction failed with status "failed": Prediction failed: ValueError: no such thing as luck'
        in done.err
    )
    done = cogsmith("run", words, "--json", "-", stdin='{"words": ["luck"], "fail": true}', ok=False)
    assert done.code == 1
    answer = json.loads(done.out)
    assert (answer["status"], answer["error"]) == ("failed", "Prediction failed: ValueError: no such thing as luck")
    assert "error: " not in done.err


def test_failing_setup(cogsmith: Cogsmith, words: str) -> None:
    done = cogsmith("run", words, "-i", "words=x", "-e", "SETUP=fail", ok=False)
    assert (done.code, done.out) == (1, "")
    assert "error: Model setup failed" in done.err
    assert "the weights are missing" in done.err


def test_setup_that_takes_too_long(cogsmith: Cogsmith, words: str) -> None:
    options = ["-i", "words=x", "-e", "SETUP=hang", "--setup-timeout", "0.5"]
    assert "--setup-timeout" in error(cogsmith("run", words, *options, ok=False), 1)


def test_an_interrupt_ends_everything(cogsmith: Cogsmith, words: str, tmp_path: Path) -> None:
    process = start(cogsmith, "run", words, "-i", "words=x", "-e", "SETUP=hang", cwd=tmp_path)
    try:
        assert process.stderr is not None
        while "setting up" not in (line := process.stderr.readline()):
            assert line
        below = descendants(process.pid)
        assert below
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
        assert eventually(lambda: gone(below))
    finally:
        end(process)


def refused(done: Done) -> str:
    """The error, said before anything was started."""
    assert "setting up" not in done.err
    return error(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-i", "wrods=x"], 'unknown input "wrods"; valid inputs are: words, count, file, fail'),
        ([], 'missing required input "words"'),
        (["-i", "words=x", "-i", "count=6"], 'invalid input "count": must be at most 5'),
        (["-i", "words"], "Failed to parse input 'words', expected format is 'name=value'"),
        (["-i", "words=x", "-i", "file=@none.txt"], "`file`"),
        (["-i", "words=x", "--json", "{}"], "Must use one of --json or --input"),
        (["--json", "[1]"], "must be an object"),
        (["--json", "{"], "Failed to parse JSON"),
        (["--json", "@none.json"], 'Failed to read JSON from file "none.json"'),
        (["--json", '{"words": ["x"], "count": null}'], "must not be null"),
        (["-i", "words=x", "-e", "=x"], "names no variable"),
        (["-i", "words=x", "-o", "none/x.txt"], "Output path is not writable: none/x.txt\n  no such file or directory"),
    ],
)
def test_inputs_that_are_wrong(cogsmith: Cogsmith, words: str, arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in refused(cogsmith("run", words, *arguments, cwd=tmp_path, ok=False))


def test_all_problems_at_once(cogsmith: Cogsmith, words: str) -> None:
    said = refused(cogsmith("run", words, "-i", "count=0", "-i", "fial=true", ok=False))
    assert "input validation failed:" in said
    for problem in ('unknown input "fial"', 'missing required input "words"', "must be at least 1"):
        assert f"- {problem}" in said or problem in said


def test_images_that_are_none(cogsmith: Cogsmith, tmp_path: Path) -> None:
    assert "Did you forget `-i`?" in refused(cogsmith("run", "text=x", ok=False))
    assert "there is no image `absent`" in refused(cogsmith("run", "absent", ok=False))
    refused(cogsmith("run", cwd=tmp_path, ok=False))  # neither an image nor a project


def test_an_image_that_is_no_model(fresh: Cogsmith, tiny: Path, tmp_path: Path) -> None:
    layout = one_of(tiny, "amd64", tmp_path / "layout")
    fresh("image", "import", layout, "-t", "plain", "--platform", "linux/amd64")
    assert "does not appear to be a Cog model" in refused(fresh("run", "plain", ok=False))
    assert "does not appear to be a Cog model" in refused(fresh("serve", "plain", ok=False))


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_timeouts_that_are_none(cogsmith: Cogsmith, seconds: str) -> None:
    done = cogsmith("run", "hello", "--setup-timeout", seconds, ok=False)
    assert (done.code, done.out) == (2, "")
    assert "--setup-timeout" in done.err
