"""`cog.yaml` as it was written in earlier years, and keys at the wrong place."""

from __future__ import annotations

import pytest
from load_problems import PATH, problems

from builder.config import (
    Command,
    Config,
    load,
)

OLDEST = """\
environment:
  python_version: 3.8
  python_requirements: requirements.txt
  system_packages: [ffmpeg]
  architectures: [cpu]
  post_install: [echo]
model: "model.py:Model"
"""


def test_the_oldest_format() -> None:
    config = load(OLDEST, path=PATH)
    assert config == Config(
        python_version="3.8",
        python_requirements="requirements.txt",
        system_packages=("ffmpeg",),
        commands=(Command(command="echo"),),
        run="model.py:Model",
    )
    assert config.warnings == (
        'deprecated field "environment": use "build" instead (line 2, column 3)',
        "`environment.architectures` is ignored: `build.gpu` says so today (line 5, column 18)",
        'deprecated field "model": use "run" instead (line 7, column 8)',
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (OLDEST + "build: {python_version: 3.11}\n", "environment: must be a list where there is a build section"),
        (OLDEST + "run: run.py:Runner\n", "model: is a repository where run or predict names the class"),
        (OLDEST.replace("3.8", "3.7"), "environment.python_version: minimum supported Python version is 3.8"),
        ("environment: {python_packages: x}\n", "environment.python_packages: must be a list, with a line `- x` for"),
        ("model: 'a.py:b.py:C'\n", "model: must be in the form 'model.py:Model'"),
    ],
)
def test_problems_of_the_oldest_format(text: str, line: str) -> None:
    found = problems(text)
    assert [item for item in found if item.startswith(line)], found


def test_keys_at_the_wrong_place() -> None:
    config = load("python_version: 3.11\n", path=PATH)
    assert config.warnings == ("unknown key `python_version` is ignored (line 1, column 1); it belongs under `build`",)


def test_keys_of_older_files_say_what_to_write() -> None:
    config = load("build:\n  python_version: 3.11\n  environment: [A=1]\n  python_find_links: [x]\n", path=PATH)
    assert [warning.partition("; ")[2] for warning in config.warnings] == [
        "it belongs at the top of the file",
        "write `--find-links URL` into the requirements",
    ]


def test_the_environment_of_2021_had_a_gpu() -> None:
    config = load("environment: {python_version: '3.8', gpu: true}\npredict: predict.py:P\n", path=PATH)
    assert (config.python_version, config.gpu, config.environment) == ("3.8", True, ())
