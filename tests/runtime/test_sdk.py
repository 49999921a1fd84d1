from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import cog
import pytest
from cog.declared import declared
from cog.files import decode_data_url, get_filename
from cog.predictor import load_predictor_from_ref, run_method
from cog.worker.inputs import InputError, Signature
from interpreters import SUPPORTED, interpreters
from runtime_image import SDK

import builder


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


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_interpreter_imports_everything(version: str, tmp_path: Path) -> None:
    """Without a warning, without a package, and without what is slow to import."""
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"this machine has no CPython {version}")
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

    class Frozen(cog.BaseModel, frozen=True):
        a: str

    class Empty(cog.BaseModel, init=False):
        a: str = "x"

    assert Child(a="x").b == 1
    assert Child("x") == Child("x", 1)
    with pytest.raises(AttributeError):
        Frozen("x").a = "y"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Empty(a="y")  # type: ignore[call-arg]

    class Free(cog.BaseModel, auto_dataclass=False):
        a: str

    with pytest.raises(TypeError):
        Free(a="x")  # type: ignore[call-arg]

    class Again(Free):
        b: int

    assert Again(b=2).b == 2


def test_base_models_that_cannot_be() -> None:
    class Parent(cog.BaseModel):
        a: str

    class Other(cog.BaseModel):
        b: str

    @dataclasses.dataclass
    class Plain:
        b: str

    class Mixin:
        pass

    class Fine(Parent, Mixin):
        pass

    assert Fine("x").a == "x"
    with pytest.raises(ValueError, match='has auto_dataclass=True, but "Manual" has auto_dataclass=False'):
        type("Manual", (Parent,), {}, auto_dataclass=False)
    with pytest.raises(TypeError, match='Primary base class of "Second" must inherit from BaseModel'):
        type("Second", (Mixin, cog.BaseModel), {})
    for other in (Plain, Other):
        with pytest.raises(TypeError, match="Cannot mixin dataclass"):
            type("Mixed", (Parent, other), {})


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

    assert run.__cog_concurrent_max__ == 4
    assert cog.concurrent(lambda: 5)() == 5
    assert cog.concurrent()(lambda: 5)() == 5
    with pytest.raises(TypeError, match="@concurrent or @concurrent"):
        cog.concurrent(5)  # type: ignore[type-var]


def test_deprecated_names_say_so_once() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1])\nfrom cog import emit_metric, ExperimentalFeatureWarning\n"
    program += "import cog; cog.emit_metric('x', 1); assert issubclass(cog.ExperimentalFeatureWarning, FutureWarning)"
    done = subprocess.run([sys.executable, "-c", program, SDK], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [line.split(". ")[0] for line in done.stderr.splitlines()] == [
        "cog: emit_metric is deprecated and will be removed in a future release",
        "cog: ExperimentalFeatureWarning is deprecated and will be removed in a future release",
    ]


def test_a_star_import_shadows_no_builtin() -> None:
    names: dict[str, object] = {}
    exec("from cog import *", names)
    assert {"Input", "Path", "BaseRunner", "current_scope"} < set(names)
    assert not {"input", "max", "type"} & set(names)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a/b%20c.png?x=1#y", "b c.png"),
        ("https://example.com/a+b.txt", "a b.txt"),
        ("https://example.com/a%2Fb%00.txt", "a_b_.txt"),
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
    with pytest.raises(ValueError, match="URLFile requires URL to conform to HTTP or HTTPS"):
        cog.URLFile("ftp://x")
    with pytest.raises(ValueError, match="'ftp' is not a valid URL scheme"):
        cog.File.validate("ftp://x")
    with pytest.raises(ValueError, match="'' is not a valid URL scheme"):
        cog.File.validate("/a/file")


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
        "Predictor is deprecated; use Runner instead",
        "Predictor.predict() is deprecated; use run() instead",
        "BasePredictor is deprecated; use BaseRunner instead",
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


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("class Runner:\n def run(self): return 5\nclass Predictor: 0", ["Both Runner and Predictor are defined"]),
        ("class Runner: 0\nclass Predictor:\n def predict(self): return 5", ["Predictor is depr", "Predictor.predict"]),
        ("Runner = 3\nclass Predictor:\n def run(self): return 5", ["Predictor is deprecated; use Runner instead"]),
        ("def Runner(): return 5", []),
    ],
)
def test_which_class_is_meant_where_none_is_named(tmp_path: Path, source: str, texts: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert load(tmp_path, source, "")() == 5  # type: ignore[operator]
    assert [str(one.message).startswith(text) for one, text in zip(caught, texts, strict=True)] == [True] * len(texts)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("Runner = 3", "Runner exists but is not a class"),
        ("class Runner: 0", "run or predict method not found: Runner"),
    ],
)
def test_nothing_to_serve_where_no_class_is_named(tmp_path: Path, source: str, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        load(tmp_path, source, "")


def test_a_mixin_behind_our_base_is_not_the_model_s(tmp_path: Path) -> None:
    source = "import cog\nclass M:\n def predict(self): 0\nclass Runner(cog.BaseRunner, M):\n def run(self): return 5"
    assert load(tmp_path, source)() == 5  # type: ignore[operator]


def test_old_and_new_name_of_run_lead_to_each_other() -> None:
    class New(cog.BaseRunner):
        def run(self, x: int) -> int:
            return x

    class Old(cog.BasePredictor):
        def predict(self, x: int) -> int:
            return x

    with pytest.warns(DeprecationWarning, match=r"New.predict\(\) is deprecated; use run\(\) instead"):
        assert New().predict(5) == 5
    assert Old().run(x=5) == 5
    with pytest.raises(NotImplementedError):
        cog.BaseRunner().run()


@pytest.mark.parametrize("base", ["Model", "Predictor"])
def test_models_of_2021(tmp_path: Path, base: str) -> None:
    method = {"Model": "run", "Predictor": "predict"}[base]
    source = f"""
import cog
class Runner(cog.{base}):
    def setup(self): self.ready = True
    @cog.input("image", type=cog.Path, help="what to show")
    @cog.input("scale", type=float, default=1.5, min=0, max=10, help="how large")
    @cog.input("mode", type=str, default=None, options=["a", "b"])
    def {method}(self, image, scale, mode):
        return image, scale, mode
"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = load(tmp_path, source)
    assert list(declared(function)) == ["image", "scale", "mode"]  # type: ignore[arg-type]
    image = tmp_path / "i.png"
    image.write_bytes(b"x")
    given = Signature(function).arguments({"image": str(image)}, files=[]).fetch("")  # type: ignore[arg-type]
    assert function(**given) == (cog.Path(image), 1.5, None)  # type: ignore[operator]
    assert isinstance(given["image"], cog.Path)
    with pytest.raises(InputError, match="image: Field required"):
        Signature(function).arguments({}, files=[])  # type: ignore[arg-type]


def test_the_old_input_and_the_module_of_that_name() -> None:
    import cog.input as module

    assert cog.input is module
    assert module.FieldInfo is cog.FieldInfo
    assert cog.input("x", cog.Path, "d", 1, 2, ["d"], "help")(load) is load
    assert dataclasses.astuple(declared(load).pop("x")) == (cog.Path, "d", 1, 2, ["d"], "help")
    with pytest.raises(TypeError, match="needs the name of an input"):
        cog.input(load)  # type: ignore[arg-type]
