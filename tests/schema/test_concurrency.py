"""`@cog.concurrent(max=N)` and `concurrency` in cog.yaml: what of them reaches the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import schema
from builder.cli.options import BuildOptions
from builder.cli.project import find, read_schema
from builder.errors import ConfigError

RUN = "import cog\nclass Runner:\n    {}def run(self, x: str) -> str: ...\n"


def project(folder: Path, method: str, *, config: str = "") -> Path:
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "3.12"\nrun: "run.py:Runner"\n{config}')
    (folder / "run.py").write_text(RUN.format(method))
    return folder


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("", (None, False)),
        ("async ", (None, True)),
        ("@cog.concurrent\n    ", (1, False)),
        ("@cog.concurrent(max=2 * 8)\n    async ", (16, True)),
    ],
)
def test_what_the_source_says(tmp_path: Path, method: str, expected: tuple[int | None, bool]) -> None:
    folder = project(tmp_path, method)
    reading = schema.read(folder, run="run.py:Runner", train=None, version="1")
    assert (reading.concurrency, reading.is_async) == expected
    assert read_schema(find(folder), options=BuildOptions())[1] == expected[0]


def test_the_trainers_where_there_is_no_runner(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("async def train(x: str) -> str: ...\n")
    assert schema.read(tmp_path, run=None, train="train.py:train", version="1").is_async


def test_several_at_a_time_need_a_coroutine(tmp_path: Path) -> None:
    several = "concurrency:\n  max: 4\n"
    assert read_schema(find(project(tmp_path, "async ", config=several)), options=BuildOptions())
    with pytest.raises(ConfigError, match=r"concurrency\.max > 1 requires an async run"):
        read_schema(find(project(tmp_path, "", config=several)), options=BuildOptions())
    assert read_schema(find(project(tmp_path, "", config=several.replace("4", "1"))), options=BuildOptions())
