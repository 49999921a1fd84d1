"""No Python source, sensible or not, gives a traceback, takes long, or gives a document that is not valid."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources import Author, models

from builder.errors import SchemaError
from builder.schema import load, read
from builder.schema.written import validate

TIMES = int(os.environ.get("COGSMITH_FUZZ", "1"))  # bench/fuzz.py
QUICK = settings(max_examples=2400 * TIMES, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def check(folder: Path, source: bytes) -> None:
    """Either a valid document, or an error that says what and where."""
    (folder / "run.py").write_bytes(source)
    try:
        document = read(folder, run="run.py:Runner", train=None, version="1").document
    except SchemaError as problem:
        assert problem.brief
        assert problem.hint
        str(problem).encode()
        return
    text = json.dumps(document, allow_nan=False, ensure_ascii=False)
    assert json.loads(text.encode()) == document
    assert len(text) < 1_000_000
    validate(document)


@settings(QUICK, max_examples=300 * TIMES)
@given(models())
def test_models(source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), source.encode("utf-8", errors="surrogatepass"))


@QUICK
@given(st.integers(0, 2**64))
def test_models_by_number(seed: int) -> None:
    """Ten times as fast as the ones above, and harder to make smaller."""
    source = Author(random.Random(seed).randrange).model()
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), source.encode("utf-8", errors="surrogatepass"))


NOISE = "()[]{}:,=*@\\\n\t \"'#dRi1.\0\u2028é"


@settings(QUICK, max_examples=1600 * TIMES)
@given(st.integers(0, 2**64), st.text(max_size=10) | st.text(alphabet=NOISE, max_size=20))
def test_broken_models(seed: int, noise: str) -> None:
    """As someone is typing it: something is put in, or the rest is missing."""
    numbers = random.Random(seed)
    source = Author(numbers.randrange).model()
    place = numbers.randrange(len(source) + 1)
    rest = source[place:] if numbers.random() < 0.8 else ""
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), (source[:place] + noise + rest).encode("utf-8", errors="surrogatepass"))


@settings(QUICK, max_examples=600 * TIMES)
@given(st.binary(max_size=200))
def test_bytes(source: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), source)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "items", "properties", "default", "enum", "allOf", "anyOf", "$ref", "minimum", "required"]
            )
            | st.sampled_from(
                ["openapi", "info", "paths", "components", "schemas", "/x/{id}", "post", "responses", "pattern"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(QUICK, max_examples=300 * TIMES)
@given(st.dictionaries(st.sampled_from(["openapi", "info", "paths", "components"]), JSON), JSON)
def test_documents_of_the_user(document: dict[str, object], schema: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "openapi.json")
        for whole in (
            document,
            {**document, "components": {"schemas": {"Input": schema}}, "paths": {"/x": {"post": schema}}},
        ):
            path.write_text(json.dumps(whole))
            try:
                load(path)
            except SchemaError as problem:
                assert problem.brief.startswith("Model schema is invalid: ")


@pytest.mark.parametrize(
    "source",
    [
        "X = " + "(" * 5000 + ")" * 5000,
        "X = " + "-" * 50_000 + "1",
        "X = " + "1+" * 20_000 + "1",
        "X = " + "[" * 150 + "]" * 150,
        "def run(x: " + "list[" * 150 + "int" + "]" * 150 + ") -> str: ...",
        "def run(x: " + "int|" * 5000 + "int) -> str: ...",
        "def run(x: str = " + "'a'+" * 3000 + "'a') -> str: ...",
        "def run(x: int = 10**10**10) -> str: ...",
        "def run(x: int = (2**64)**(2**64)) -> str: ...",
        "def run(x: str = 'a' * 10**12) -> str: ...",
        "def run(x: list = [[[0] * 10**4] * 10**4] * 10**4) -> str: ...",
        "def run(x: list = list(range(10**18))) -> str: ...",
        "def run(x: int = 1 << 10**9) -> str: ...",
        "def run(x: int = 0x" + "f" * 5000 + ") -> str: ...",
        "def run(x: int = " + "9" * 5000 + ") -> str: ...",
        "def run(x: 0x" + "f" * 5000 + ") -> str: ...",
        "\n".join(f"A{i} = A{i + 1} + A{i + 1}" for i in range(60)) + "\nA60='a'\ndef run(x: str = A0) -> str: ...",
        "\n".join(f"A{i} = [A{i + 1}, A{i + 1}]" for i in range(60)) + "\nA60=1\ndef run(x: list = A0) -> str: ...",
        "\n".join(f"A{i} = 'Union[list[A{i + 1}], list[A{i + 1}]]'" for i in range(60))
        + "\ndef run(x: A0) -> str: ...",
        "from pydantic import BaseModel\n"
        + "\n".join(f"class A{i}(BaseModel):\n  x: 'A{i + 1}'\n  y: 'A{i + 1}'\n  z: 'A{i + 1}'" for i in range(60))
        + "\nclass A60(BaseModel): a: int\ndef run() -> A0: ...",
        "A = 'B'\nB = 'A'\ndef run(x: A) -> B: ...",
        "A = A\nB = C\nC = B\ndef run(x: A = B) -> C: ...",
        "A = list['A']\ndef run(x: A) -> A: ...",
        "from run import A\nfrom run import *\ndef run(x: A, y: str = Z) -> A: ...",
        "class A(B): ...\nclass B(A): ...\nclass Runner(A): ...",
        "\n".join(f"class A{i}(A{i + 1}, B{i + 1}): ...\nclass B{i}(A{i + 1}, B{i + 1}): ..." for i in range(60))
        + "\nclass Runner(A0): ...",
        "\n".join(f"class A{i}(A{i + 1}): ..." for i in range(5000)) + "\nclass Runner(A0): ...",
        "def f(): return f()\ndef run(x: str = f()) -> str: ...",
        "import cog\ndef run(x: str = cog.Input(default='a' * 40 + '!', regex='^(a+)+$')) -> str: ...",
        "def run(x: '" + "list[" * 3000 + "') -> str: ...",
        "def run(x: " + "a." * 3000 + "b) -> str: ...",
    ],
    ids=lambda source: source[:30].replace("\n", ";"),
)
def test_bombs(tmp_path: Path, source: str) -> None:
    name = "Runner" if "Runner" in source else "run"
    (tmp_path / "run.py").write_text(source)
    try:
        document = read(tmp_path, run=f"run.py:{name}", train=None, version="1").document
    except SchemaError:
        return
    assert len(json.dumps(document)) < 1_000_000
