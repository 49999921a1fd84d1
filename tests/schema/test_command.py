"""`cogsmith schema` as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.compile import dump_schema

ROOT = Path(__file__).parents[2]
MODEL = "from cog import Input\ndef run(text: str, n: int = Input(default=1, le=9)) -> str: ...\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "cog.yaml").write_text('build:\n  python_version: "3.12"\nrun: "run.py:run"\n')
    (tmp_path / "run.py").write_text(MODEL)
    return tmp_path


def cogsmith(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    whole = {key: value for key, value in os.environ.items() if key != "COG_OPENAPI_SCHEMA"}
    whole |= {"PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, "-m", "builder.cli", "schema", *arguments]
    return subprocess.run(command, cwd=cwd, env=whole, capture_output=True, text=True, check=False)


def test_it_prints_the_document(project: Path) -> None:
    done = cogsmith(cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert list(document["components"]["schemas"]["Input"]["properties"]) == ["text", "n"]
    (project / "below").mkdir()
    assert cogsmith("--compact", cwd=project / "below").stdout == dump_schema(document) + "\n"
    assert cogsmith(str(project), cwd=ROOT).stdout == done.stdout


def test_check(project: Path) -> None:
    kept = project / "schema.json"
    kept.write_text(cogsmith(cwd=project).stdout)
    assert cogsmith("--check", "schema.json", cwd=project).returncode == 0
    (project / "run.py").write_text(MODEL.replace("le=9", "le=10").replace("text: str", "words: list[str]"))
    done = cogsmith("--check", "schema.json", cwd=project)
    assert done.returncode == 1
    text, words = [
        {"title": name, "type": kind, "x-order": 0} for name, kind in (("Text", "string"), ("Words", "array"))
    ]
    words = {"items": {"type": "string"}, "title": "Words", "type": "array", "x-order": 0}
    assert done.stdout.splitlines() == [
        "components.schemas.Input.properties.n.maximum: 10 in the model, was 9",
        f"components.schemas.Input.properties.text: no more in the model, was {json.dumps(text)}",
        f"components.schemas.Input.properties.words: new in the model: {json.dumps(words)}",
        'components.schemas.Input.required: ["words"] in the model, was ["text"]',
    ]


def test_the_release_that_made_it_does_not_matter(project: Path) -> None:
    document = json.loads(cogsmith(cwd=project).stdout)
    document["info"]["version"] = "0.0.1"
    (project / "schema.json").write_text(json.dumps(document).replace('"maximum": 9', '"maximum": 9.0'))
    assert cogsmith("--check", "schema.json", cwd=project).returncode == 0


def test_an_error_shows_the_place(project: Path) -> None:
    (project / "run.py").write_text("def run(text: str, image: Image) -> str: ...\n")
    done = cogsmith(cwd=project)
    assert done.returncode == 12
    assert done.stdout == ""
    assert done.stderr.splitlines()[:4] == [
        "error: unsupported type: Image",
        "  run.py:1:27",
        "      def run(text: str, image: Image) -> str: ...",
        "                                ^",
    ]


def test_a_document_of_the_users_own(project: Path) -> None:
    document = json.loads(cogsmith(cwd=project).stdout)
    document["info"]["title"] = "mine"
    own = project / "own.json"
    own.write_text(json.dumps(document))
    assert json.loads(cogsmith("--openapi-schema", "own.json", cwd=project).stdout) == document
    assert json.loads(cogsmith(cwd=project, env={"COG_OPENAPI_SCHEMA": str(own)}).stdout) == document
    own.write_text("{}")
    done = cogsmith("--openapi-schema", "own.json", cwd=project)
    assert done.returncode == 12
    assert "Model schema is invalid: openapi: must be 3.0.x" in done.stderr
