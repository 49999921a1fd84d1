"""Bytecode layers: the interpreter's own bytes, whatever was compiled before or beside, and what is left out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from small_wheels import EPOCH, wheels_spec
from trees import layer_files

from builder.codec import codec_for
from builder.errors import LayerError
from builder.layers import pythons
from builder.layers.bytecode import cache_path
from builder.layers.pack import Packed, pack
from builder.plan import CODECS

VERSION = ".".join(map(str, sys.version_info[:3]))
TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
PYENV = Path.home() / ".pyenv" / "versions"
TEXT = pythons.COMPILING.read_text(encoding="utf-8")

SOURCES = {
    "demo/__init__.py": 'from demo.names import brace\n__all__ = ["brace", "tau"]\ntau = 2**0.5 + 1e300\n',
    "demo/names.py": 'def brace(text="{", other="}", *, brace=b"x"):\n    return text in {"a", "b"} or "}"\n',
    "demo/bräce.py": "# coding: latin-1\nclass brace:\n    text = '}é'\n    def brace(self): return (1, 2.5, None)\n",
    "demo/two.py": "print 'two'\n",
    "demo/null.py": "x = '\0'\n",
    "demo/empty.py": "",
    "demo/data.txt": "not a source\n",
    "demo/shipped.py": "x = 1\n",
    f"demo/__pycache__/shipped.{TAG}.pyc": "its own",
    "demo/with-hyphen.py": "x: int = 256 ** 2\n",
}


def wheel(folder: Path, sources: dict[str, str] = SOURCES, *, name: str = "demo") -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, text in sources.items():
            archive.writestr(place, text.encode("latin-1" if "latin-1" in text else "utf-8"))
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def by(python: str, *, before: str = "") -> Any:
    """A `Compile` that runs `python`, which has done `before` first."""

    def run(requests: BinaryIO, answers: BinaryIO) -> None:
        env = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
        text = TEXT.replace("SHORT = ", f"{before}\nSHORT = ", 1)
        subprocess.run([python, *pythons.FLAGS, "-c", text], stdin=requests, stdout=answers, env=env, check=True)

    return run


def bytecode(
    *wheels: Path,
    names: Sequence[str] = ("demo",),
    python: str = sys.executable,
    before: str = "",
    version: str = VERSION,
) -> tuple[Packed, bytes]:
    of, inputs = wheels_spec(*wheels, names=names)
    spec = {"kind": "bytecode", "version": version, "of": of, "compilers": [], "epoch": EPOCH, "reason": ""}
    out = io.BytesIO()
    codec = codec_for(CODECS["gzip"], "gzip")
    compile_with = by(python, before=before)
    made = pack(spec, inputs=inputs, out=out, codec=codec, compression="gzip", threads=2, compile_with=compile_with)
    return made, out.getvalue()


def test_what_is_compiled(tmp_path: Path) -> None:
    _, blob = bytecode(wheel(tmp_path))
    root = "opt/venv/lib/python3.11/site-packages/demo/__pycache__"
    files = layer_files(blob)
    compiled = ("__init__", "names", "bräce", "with-hyphen")
    assert sorted(files) == sorted(f"{root}/{name}.{TAG}.pyc" for name in compiled)
    data = files[f"{root}/names.{TAG}.pyc"]
    assert data[4:8] == b"\1\0\0\0"  # by hash, never checked
    assert b"/opt/venv/lib/python3.11/site-packages/demo/names.py" in data
    assert os.fspath(tmp_path).encode() not in data


def test_python_takes_it(tmp_path: Path) -> None:
    """Imported without a look at the sources, which are others by then."""
    _, blob = bytecode(wheel(tmp_path))
    for path, data in layer_files(blob).items():
        place = tmp_path / "site" / path.partition("site-packages/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        (place.parent.parent / f"{place.name.split('.')[0]}.py").write_text("raise SystemExit('the source was read')\n")
    command = "import demo; assert demo.brace('a') is True, demo.brace('c'); assert demo.tau > 1"
    subprocess.run([sys.executable, "-B", "-c", command], cwd=tmp_path / "site", check=True)
    always = [sys.executable, "-B", "--check-hash-based-pycs", "always", "-c", command]
    done = subprocess.run(always, cwd=tmp_path / "site", capture_output=True, check=False)
    assert b"the source was read" in done.stderr


OTHERS = [str(path) for minor in ("3.8", "3.9", "3.10", "3.12", "3.13") for path in PYENV.glob(f"{minor}.*/bin/python")]


@pytest.mark.parametrize("python", [sys.executable, *OTHERS])
def test_the_same_bytes_whatever_came_before(python: str, tmp_path: Path) -> None:
    """Files are compiled in any groups, on any machine: what else the process did leaves no trace."""
    version = subprocess.check_output([python, "-c", "import platform; print(platform.python_version())"], text=True)
    made = wheel(tmp_path)
    first, blob = bytecode(made, python=python, version=version.strip())
    assert len(layer_files(blob)) >= 4
    busy = "import json, email.message; brace = sys.intern('brace'); kept = [sys.intern('tau'), '{', 2**0.5]"
    assert bytecode(made, python=python, before=busy, version=version.strip())[0] == first
    other = wheel(tmp_path, {"aaa/__init__.py": "def tau(brace='}'): return '{', tau.brace\n"}, name="aaa")
    _, both = bytecode(other, made, names=("aaa", "demo"), python=python, version=version.strip())
    found = layer_files(both)
    assert {path: found[path] for path in layer_files(blob)} == layer_files(blob)


def test_sets_without_an_order(tmp_path: Path) -> None:
    """Where the order of a constant is that of addresses, the file is left out; later Pythons sort."""
    old = next(iter(PYENV.glob("3.8.*/bin/python")), None)
    if old is None:
        pytest.skip("no Python 3.8 of pyenv's here")
    made = wheel(
        tmp_path, {"demo.py": "def f(x): return x in {None, 'a', (None,)}\n", "other.py": "x = y in {1, 'a'}\n"}
    )
    _, blob = bytecode(made, python=str(old), version="3.8.18")
    assert [path.rpartition("/")[2] for path in layer_files(blob)] == ["other.cpython-38.pyc"]


def test_the_last_of_two_wheels_has_a_path(tmp_path: Path) -> None:
    one = wheel(tmp_path, {"both.py": "x = 'one'\n"}, name="one")
    two = wheel(tmp_path, {"both.py": "x = 'two'\n"}, name="two")
    for wheels, last in (((one, two), b"two"), ((two, one), b"one")):
        _, blob = bytecode(*wheels, names=[path.name[:3] for path in wheels])
        (data,) = layer_files(blob).values()
        assert last in data


def test_an_interpreter_that_is_none(tmp_path: Path) -> None:
    of, inputs = wheels_spec(wheel(tmp_path))
    spec = {"kind": "bytecode", "version": VERSION, "of": of, "compilers": [], "epoch": EPOCH, "reason": ""}
    codec = codec_for(CODECS["plain"], "plain")

    def says_too_much(requests: BinaryIO, answers: BinaryIO) -> None:
        answers.write(b"hello" * 100)

    with pytest.raises(LayerError, match="gave something else"):
        pack(spec, inputs=inputs, out=io.BytesIO(), codec=codec, compression="plain", compile_with=says_too_much)
    with pytest.raises(LayerError, match="no interpreter"):
        pack(spec, inputs=inputs, out=io.BytesIO(), codec=codec, compression="plain")


def test_cache_path() -> None:
    assert cache_path("a/b.py", tag="cpython-38") == "a/__pycache__/b.cpython-38.pyc"
    assert [cache_path(path, tag="x") for path in ("a/b.pyi", "a/.py", "a/__pycache__/b.py", "a/py")] == [None] * 4
