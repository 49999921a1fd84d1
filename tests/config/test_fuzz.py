"""No `cog.yaml`, requirements file or foreign lock gives a traceback: each is read, or refused in words.

`COGSMITH_FUZZ=20` tries twenty times as many (see `bench/fuzz.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import string
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.compile import config_label
from builder.config import Config, config_hash, load, unsupported
from builder.errors import CogsmithError, ConfigError
from builder.report import Quiet
from builder.resolve import foreign, graph, pyproject, requirements

PATH = Path("cog.yaml")
TIMES = int(os.environ.get("COGSMITH_FUZZ", "1"))


def many(count: int) -> Any:
    return settings(max_examples=count * TIMES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


_KEYS = """
build run predict train image model concurrency environment weights python_version python_requirements
python_packages system_packages pre_install gpu cuda cudnn sdk_version base_image platforms python_project
command mounts type id target max name source uri include exclude << architectures post_install
"""
KEYS = st.sampled_from(_KEYS.split())
_WORDS = """
3.11 3.8 3.10.1 3 12.4 9 0.16.0 prerelease true no null ~ run.py:Runner a/b.py:C x.py:y.py:z r8.im/a/b a@b:c
linux/amd64 A=1 A=$B PATH=x CUDA_X=1 secret /src / ./x hf://a/b !x \\ a\\b 1e3 0x10 1_000 2020-01-01 .5 -1
"""
WORDS = st.sampled_from(_WORDS.split())
LEAVES = st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just("a\nb"))
NAMES = st.one_of(KEYS, st.sampled_from(["", "x", "1", "é", "a b"]))
INNER = st.one_of(LEAVES, st.lists(LEAVES, max_size=3), st.dictionaries(NAMES, LEAVES, max_size=3))
VALUES = st.one_of(LEAVES, st.lists(INNER, max_size=3), st.dictionaries(NAMES, INNER, max_size=3))
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)
VALID = """\
build:
  python_version: "3.11"
  gpu: false
  run: [{command: a, mounts: [{type: secret, id: t, target: /t}]}]
  system_packages: &p [ffmpeg]
x: *p
environment: [A=1]
run: "run.py:Runner"
concurrency: {max: 4}
model: r8.im/a/b
weights: [{name: w, target: /w, source: {uri: "hf://a/b", include: ["*"]}}]
"""
PIECES = st.one_of(st.text(max_size=3), st.sampled_from([*"\t:-[]{}&*!|>'\"%@`#,?\n\r\x85\u2028\ufeff\0", "<<", "---"]))


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """`text` with up to four pieces cut out of it or put into it."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(PIECES) + text[start + draw(st.integers(0, 12)) :]
    return text


def check(text: str) -> None:
    try:
        config = load(text, path=PATH)
    except ConfigError as problem:
        assert "cog.yaml" in problem.brief
        assert problem.details
        assert problem.hint
        return
    assert isinstance(config, Config)
    assert config == load(text, path=PATH)
    assert config == load("\ufeff" + text.removeprefix("\ufeff"), path=PATH)
    assert len(config_hash(config, "")) == 64
    assert all(unsupported(config))
    json.dumps(config_label(config))


@given(st.one_of(st.text(), st.text(alphabet=string.printable), st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t")))
@many(1200)
def test_any_text(text: str) -> None:
    check(text)


@given(DOCUMENTS, st.booleans())
@many(1400)
def test_any_document(document: dict[str, Any], flow: bool) -> None:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    check(yaml.dump(document, Dumper=dumper, default_flow_style=flow, allow_unicode=True))


@given(damaged(VALID))
@many(1500)
def test_any_damage(text: str) -> None:
    check(text)


_PARTS = """
numpy torch cog ==1.0 >=2 ~= [a,b] ; python_version<'3' @ https://a.invalid/x.whl git+https://a.invalid/x
--hash=sha256:00 -f --find-links -r x -c -e . ./x.whl x.tar.gz file:///x # \\ --pre -i --no-binary :all: , [
"""
PARTS = st.sampled_from(_PARTS.split())
LINES = st.lists(st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=6).map(" ".join)), max_size=5)


@given(LINES, st.sampled_from(["\n", "\r\n", "\\\n"]))
@many(400)
def test_any_requirements(lines: list[str], end: str) -> None:
    try:
        found = requirements.read(end.join(lines), project=Path("/nonexistent"), report=Quiet())
    except ConfigError as problem:
        assert problem.details
    else:
        assert not any("\n" in line for line in found.lines)


LOCK = """\
version = 1
[[package]]
name = "a"
version = "1.0"
source = { registry = "https://a.invalid/simple" }
resolution-markers = ["python_version < '4'"]
dependencies = [{ name = "b", marker = "sys_platform == 'linux'", extra = ["x"] }]
wheels = [{ url = "https://a.invalid/a-1.0-py3-none-any.whl", hash = "sha256:00", size = 1 }]
[package.optional-dependencies]
x = [{ name = "a" }]
[[package]]
name = "m"
source = { virtual = "." }
dependencies = [{ name = "a" }]
"""
POETRY = """\
[[package]]
name = "a"
version = "1.0"
optional = false
python-versions = "^3.8"
markers = "python_version < '4'"
files = [{file = "a-1.0-py3-none-any.whl", hash = "sha256:00"}]
[package.dependencies]
b = {version = "^1", markers = "extra == 'x'", optional = true, python = "<4"}
[package.extras]
x = ["b (>=1)"]
[metadata]
lock-version = "2.1"
"""
PDM = """\
[[package]]
name = "a"
version = "1.0"
requires_python = ">=3.8"
marker = "python_version < '4'"
dependencies = ["b[x]>1; python_version > '3'"]
files = [{file = "a-1.0-py3-none-any.whl", hash = "sha256:00"}]
"""
PROJECT = '[project]\nname = "m"\ndependencies = ["a"]\nrequires-python = ">=3.9"\n'


@given(
    st.one_of(
        st.tuples(st.just("uv.lock"), damaged(LOCK)),
        st.tuples(st.just("poetry.lock"), damaged(POETRY)),
        st.tuples(st.just("pdm.lock"), damaged(PDM)),
    ),
    st.one_of(st.just(PROJECT), damaged(PROJECT)),
)
@many(400)
def test_any_lock_of_another_tool(lock: tuple[str, str], project: str) -> None:
    files = pyproject.Files(pyproject=project, lock_name=lock[0], lock=lock[1])
    with contextlib.suppress(CogsmithError):
        document = pyproject.table(files)
        pyproject.requires_python(document)
        pyproject.indexes(document)
        read = foreign.read(files, folder=Path("/nonexistent"))
        graph.select(read, variables=graph.environment(python_version="3.11.2", platform="linux/amd64"))
    with contextlib.suppress(CogsmithError):
        pyproject.requirement_lines(files, report=Quiet())
