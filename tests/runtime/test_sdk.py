from __future__ import annotations

import importlib.metadata
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import cog
import pytest
from cog.files import decode_data_url, get_filename
from cog.predictor import load_predictor_from_ref, run_method
from cog.scope import Scope
from runtime_image import SDK

import builder


def interpreters() -> list[Path]:
    """Every CPython from 3.8 on that this machine has."""
    found = {Path(sys.executable)}
    for folder in (Path.home() / ".pyenv/versions").glob("3.*/bin/python"):
        if int(folder.parent.parent.name.split(".")[1]) >= 8:
            found.add(folder)
    found.update(path for minor in range(8, 15) if (path := Path(f"/usr/bin/python3.{minor}")).exists())
    return sorted(found)


def test_one_version() -> None:
    assert cog.__version__ == builder.__version__
    found = importlib.metadata.Distribution.at(SDK / f"cog-{cog.__version__}.dist-info")
    assert found.metadata["Name"] == "cog"
    assert found.version == cog.__version__
    assert len(list(SDK.glob("*.dist-info"))) == 1


def test_the_runtime_is_typed() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "-p", "cog"]
    done = subprocess.run(command, cwd=SDK, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("python", interpreters(), ids=str)
def test_every_interpreter_imports_everything(python: Path, tmp_path: Path) -> None:
    """Without a warning, without a package, and without what is slow to import."""
    program = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import cog
assert not {"dataclasses", "pathlib", "inspect", "re"} & (set(sys.modules) - before), set(sys.modules) - before
for name in cog.__all__:
    getattr(cog, name)
from cog import *
import cog.types, cog.mode, cog.errors, cog.exceptions, cog.coder, cog.predictor, cog.suppress_output, cog.worker.main
late = {"ssl", "urllib.request", "http.client", "asyncio", "concurrent.futures"} & set(sys.modules)
assert not late, late
assert not [name for name in sys.modules if name.startswith(("typing_extensions", "pydantic"))]
import cog.server.settings, cog.server.validation, cog.server.process, cog.server.service, cog.server.files
path = cog.Path.validate("data:text/plain;base64,aGVsbG8=")
assert path.convert().read_text() == "hello" and path.name == "file.txt" and str(path).startswith("data:")
path.unlink()
assert type(cog.Path("/a/b") / "c") is cog.Path and type(path.parent) is not cog.URLPath
class Output(cog.BaseModel):
    text: str
    number: int = 2
assert Output(text="a") == Output(text="a", number=2)
"""
    done = subprocess.run(
        [python, "-W", "error", "-B", "-I", "-S", "-c", program, SDK], capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_names_that_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="module 'cog' has no attribute 'Nothing'"):
        cog.Nothing  # noqa: B018
    assert "BaseRunner" in dir(cog)


def test_secret_does_not_show() -> None:
    secret = cog.Secret("hunter2")
    assert (str(secret), repr(secret)) == ("**********", "Secret(**********)")
    assert secret.get_secret_value() == "hunter2"
    assert str(cog.Secret()) == ""


def test_base_model() -> None:
    class Parent(cog.BaseModel):
        a: str

    class Child(Parent):
        b: int = 1

    assert Child(a="x").b == 1
    with pytest.raises(ValueError, match="auto_dataclass=False"):

        class Plain(Parent, auto_dataclass=False):
            pass

    class Free(cog.BaseModel, auto_dataclass=False):
        a: str

    with pytest.raises(TypeError):
        Free(a="x")  # type: ignore[call-arg]


def test_input() -> None:
    field = cog.Input(default=3, ge=1, choices=(1, 3))
    assert (field.default, field.ge, field.choices) == (3, 1, [1, 3])
    with pytest.raises(TypeError, match="default_factory"):
        cog.Input(default_factory=list)
    with pytest.raises(AttributeError):
        field.default = 4


@pytest.mark.parametrize(("value", "error"), [("2", TypeError), (True, TypeError), (0, ValueError), (2, TypeError)])
def test_concurrent_refuses(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="concurrent max"):
        cog.concurrent(max=value)(lambda: None)  # type: ignore[arg-type]


def test_concurrent_and_streaming_mark() -> None:
    @cog.concurrent(max=4)
    @cog.streaming()
    @cog.streaming
    async def run() -> None: ...

    assert run.__cog_concurrent_max__ == 4  # type: ignore[attr-defined]


def test_a_scope_outside_a_prediction_does_nothing() -> None:
    cog.emit_metric("not a valid name", 1)
    cog.current_scope().metrics["a"] = 1
    assert len(cog.current_scope().metrics) == 0


def test_metrics() -> None:
    sent: list[tuple[str, object, str]] = []
    scope = Scope(publish=lambda *metric: sent.append(metric))
    scope.record_metric("timing.load", 0.5)
    scope.record_metric("count", 1, mode="incr")
    scope.metrics.record("count", 2, mode="incr")
    scope.record_metric("steps", "a", mode="append")
    del scope.metrics["timing.load"]
    assert sent[-1] == ("timing.load", None, "replace")
    assert scope.metrics["count"] == 3
    assert scope.metrics["steps"] == ["a"]
    with pytest.raises(TypeError, match="is a number, not a str"):
        scope.record_metric("count", "many")
    for name in ("a__b", "_a", "a_", "1a", "a.b.c.d.e", "a..b", "predict_time", "cog.x", "x" * 129, "a b"):
        with pytest.raises(ValueError, match="metric name"):
            scope.record_metric(name, 1)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a/b%20c.png?x=1#y", "b c.png"),
        ("https://example.com/a+b.txt", "a b.txt"),
        ("https://example.com/a%2Fb%00.txt", "b_.txt"),
        ("data:image/png;base64,AAAA", "file.png"),
        ("data:,x", "file.txt"),
        ("data:application/x-unheard-of,x", "file"),
        ("https://example.com/" + "é" * 150 + ".jpeg", "é" * 97 + "~.jpeg"),
    ],
)
def test_file_names_of_urls(url: str, name: str) -> None:
    assert get_filename(url) == name
    assert len(get_filename(url).encode()) <= 200


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:text/plain;base64,aGk=", b"hi"),
        ("data:;base64,aGk%3D", b"hi"),
        ("data:,a%20b", b"a b"),
        ("data:text/plain;charset=utf-8,%C3%A9", b"\xc3\xa9"),
    ],
)
def test_data_urls(url: str, data: bytes) -> None:
    assert decode_data_url(url) == data


def test_file() -> None:
    assert cog.File.validate("data:,x").read() == b"x"
    remote = cog.File.validate("http://127.0.0.1:1/a/name.txt")
    assert remote.name == "name.txt"  # type: ignore[union-attr]
    assert pickle.loads(pickle.dumps(remote)).name == "name.txt"
    with pytest.raises(ValueError, match="'ftp' is not a valid URL scheme"):
        cog.File.validate("ftp://x")


def load(tmp_path: Path, source: str, name: str = "Runner") -> object:
    (tmp_path / "model_under_test.py").write_text(source)
    return run_method(load_predictor_from_ref(f"{tmp_path / 'model_under_test.py'}:{name}".rstrip(":")))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import cog\nclass Runner(cog.BaseRunner):\n def run(self): return 5", "Runner"),
        ("import cog\nclass A(cog.BaseRunner):\n def run(self): return 5\nclass Runner(A): pass", "Runner"),
        ("class Runner:\n def run(self): return 5", ""),
        ("def go(): return 5", "go"),
    ],
)
def test_models_that_load(tmp_path: Path, source: str, name: str) -> None:
    assert load(tmp_path, source, name)() == 5  # type: ignore[operator]


def test_old_models_load_with_a_warning(tmp_path: Path) -> None:
    source = "import cog\nclass Predictor(cog.BasePredictor):\n def predict(self): return 5"
    with pytest.warns(DeprecationWarning) as caught:
        assert load(tmp_path, source, "")() == 5  # type: ignore[operator]
    assert [str(one.message) for one in caught] == [
        "the name Predictor is deprecated, use Runner",
        "predict() is deprecated, use run()",
    ]


@pytest.mark.parametrize(
    ("source", "name", "error"),
    [
        ("class Runner:\n def run(self): 0\n def predict(self): 0", "Runner", "must define either run"),
        ("import cog\nclass Runner(cog.BaseRunner): 0", "Runner", "run or predict method not found: Runner"),
        ("x = 1", "", "module 'model_under_test' has no Runner or Predictor"),
    ],
)
def test_models_that_do_not_load(tmp_path: Path, source: str, name: str, error: str) -> None:
    with pytest.raises((ValueError, AttributeError), match=error), warnings.catch_warnings():
        load(tmp_path, source, name)
