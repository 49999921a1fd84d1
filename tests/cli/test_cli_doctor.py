"""`cogsmith doctor` and `init`: what is found, what is mended, and that a new project works."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
import yaml
from small_projects import write_project

from builder.cli.doctor.fixes import migrate, remove_import, why_not
from tests.conftest import Cogsmith

OLD = """# a comment that stays
import cog
from cog import BasePredictor, Input, ExperimentalFeatureWarning


class Helper:
    def predict(self):
        return "predict"


class Predictor(BasePredictor):
    def setup(self):
        self.helper = Helper()

    def predict(self, text: str = Input(default="predict, Predictor")) -> str:
        return text + self.helper.predict()

    async def again(self): return self.predict("é"), self.predict("Predictor")


CLASS = Predictor
"""
NEW = """# a comment that stays
import cog
from cog import BaseRunner, Input


class Helper:
    def predict(self):
        return "predict"


class Runner(BaseRunner):
    def setup(self):
        self.helper = Helper()

    def run(self, text: str = Input(default="predict, Predictor")) -> str:
        return text + self.helper.predict()

    async def again(self): return self.run("é"), self.run("Predictor")


CLASS = Runner
"""
CONFIG = 'build:\n  python_version: "3.11" # why\npredict: "predict.py:Predictor"   # the model\n'
MACHINE = {"COG_SKIP_DOCKER_CHECK": "1"}


def old_project(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "cog.yaml").write_text(CONFIG)
    (folder / "predict.py").write_text(OLD)
    return folder


def test_an_old_project_is_mended(fresh: Cogsmith, tmp_path: Path) -> None:
    folder = old_project(tmp_path / "p")
    told = fresh("doctor", cwd=folder, env=MACHINE)
    assert told.code == 0  # it works as it is
    assert "written for an older Cog" in told.out
    assert "`ExperimentalFeatureWarning` is deprecated" in told.out
    assert "`cogsmith doctor --fix` mends 2 of them" in told.out
    assert (folder / "predict.py").read_text() == OLD
    done = fresh("doctor", "--fix", cwd=folder, env=MACHINE)
    assert done.out.splitlines()[-1] == "0 errors, 0 warnings"
    assert (folder / "run.py").read_text() == NEW
    assert not (folder / "predict.py").exists()
    assert (folder / "cog.yaml").read_text() == CONFIG.replace(
        'predict: "predict.py:Predictor"', 'run: "run.py:Runner"'
    )
    assert fresh("doctor", "--fix", cwd=folder, env=MACHINE).err == ""  # nothing is left to do


def test_a_file_in_the_way_is_not_overwritten(fresh: Cogsmith, tmp_path: Path) -> None:
    folder = old_project(tmp_path / "p")
    (folder / "run.py").write_text("mine = True\n")
    done = fresh("doctor", "--fix", cwd=folder, env=MACHINE)
    assert "`run.py` exists already" in done.out
    assert (folder / "run.py").read_text() == "mine = True\n"
    assert (folder / "cog.yaml").read_text() == CONFIG


def test_names_of_one_s_own_stay(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "cog.yaml").write_text("predict: sub/model.py:Mine\n")
    source = "import cog\n\n\nclass Mine(cog.BasePredictor):\n    def predict(self) -> str:\n        return ''\n"
    (tmp_path / "sub" / "model.py").write_text(source)
    migrate(tmp_path, file="cog.yaml", reference="sub/model.py:Mine")
    assert (tmp_path / "cog.yaml").read_text() == "run: sub/model.py:Mine\n"
    changed = (tmp_path / "sub" / "model.py").read_text()
    assert changed == source.replace("BasePredictor", "BaseRunner").replace("predict", "run")


MODEL = """from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, s: str) -> str:
        return s
"""
RENAMED = MODEL.replace("Predictor", "Runner").replace("predict", "run")


class TestMigration:
    """Whatever else names the file, the class or the method goes with it, or keeps them as they are."""

    def migrated(self, folder: Path, *, config: str = "predict: predict.py:Predictor\n", **files: str | bytes) -> str:
        (folder / "cog.yaml").write_bytes(config.encode())
        for name, text in ({"predict": MODEL} | files).items():
            (folder / f"{name}.py").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert why_not(folder, reference="predict.py:Predictor") == ""
        migrate(folder, file="cog.yaml", reference="predict.py:Predictor")
        return (folder / "cog.yaml").read_bytes().decode()

    def test_self_of_other_classes(self, tmp_path: Path) -> None:
        other = "class Other:\n    def predict(self): ...\n    def twice(self): return self.predict(), self.predict()\n"
        use = "print(Predictor().predict('a'))\np = Predictor()\np.predict('b')\n"
        self.migrated(tmp_path, predict=other + MODEL + use)
        assert (tmp_path / "run.py").read_text() == other + RENAMED + use.replace("Predictor", "Runner").replace(
            ".predict", ".run"
        )

    @pytest.mark.parametrize(
        "source",
        [
            "from cog import BasePredictor\nclass Predictor(BasePredictor, Base):\n    def {}(self) -> str: ...\n",
            "class Predictor:\n    def {}(self): ...\nclass Other(Predictor):\n    x = 1\n",
            "class Predictor:\n    def {}(self): self.run = 1\n",
            "class Predictor:\n    def {}(self): getattr(self, 'predict')\n",
            "class Base:\n    def {}(self): ...\nclass Predictor(Base):\n    def a(self): self.predict()\n",
        ],
    )
    def test_a_method_that_more_than_its_class_calls(self, tmp_path: Path, source: str) -> None:
        self.migrated(tmp_path, predict=source.format("predict"))
        assert (tmp_path / "run.py").read_text() == source.format("predict").replace("Predictor", "Runner")

    def test_names_that_are_taken(self, tmp_path: Path) -> None:
        source = "class Runner: ...\nclass BasePredictor: ...\nclass Predictor(BasePredictor): ...\n"
        assert self.migrated(tmp_path, predict=source) == "run: run.py:Predictor\n"
        assert (tmp_path / "run.py").read_text() == source

    def test_training_of_the_same_file(self, tmp_path: Path) -> None:
        config = self.migrated(tmp_path, config='train: "predict.py:train"  # it\npredict: predict.py:Predictor\n')
        assert config == 'train: "run.py:train"  # it\nrun: run.py:Runner\n'
        (tmp_path / "run.py").rename(tmp_path / "predict.py")
        again = "predict: predict.py:Predictor\ntrain: predict.py:Predictor\n"
        assert self.migrated(tmp_path, config=again) == "run: run.py:Runner\ntrain: run.py:Runner\n"

    @pytest.mark.parametrize(
        ("other", "renamed"),
        [
            ("from predict import helper\n", True),
            ("import subprocess\nsubprocess.run(['python', 'predict.py'])\n", True),
            ("from predict import Predictor\n", False),
            ("import predict\n", False),
            ("from . import predict\n", False),
            ("import importlib\nimportlib.import_module('predict')\n", False),
            ("from predict import *\nprint 'a'\n", False),
        ],
    )
    def test_a_file_that_another_names(self, tmp_path: Path, other: str, renamed: bool) -> None:
        config = self.migrated(tmp_path, other=other)
        assert config == f"run: predict.py:{'Runner' if renamed else 'Predictor'}\n"
        assert (tmp_path / "predict.py").read_text() == (RENAMED if renamed else MODEL)

    def test_a_file_that_a_command_names(self, tmp_path: Path) -> None:
        build = 'build:\n  run:\n    - "python predict.py"\n'
        assert self.migrated(tmp_path, config=f"{build}predict: predict.py:Predictor\n") == (
            f"{build}run: predict.py:Runner\n"
        )

    @pytest.mark.parametrize("value", ["\n  predict.py:Predictor\n", " >-\n  predict.py:Predictor\n"])
    def test_a_value_below_its_key(self, tmp_path: Path, value: str) -> None:
        assert self.migrated(tmp_path, config=f"predict:{value}") == f"run:{value}"
        assert (tmp_path / "predict.py").read_text() == MODEL

    def test_a_line_of_a_text_is_no_key(self, fresh: Cogsmith, tmp_path: Path) -> None:
        text = 'run: run.py:Runner\nenvironment:\n  - "A=\npredict: b"\n'
        (tmp_path / "cog.yaml").write_text(text)
        (tmp_path / "run.py").write_text(RENAMED)
        assert "older" not in fresh("doctor", "--fix", cwd=tmp_path, env=MACHINE).out
        assert (tmp_path / "cog.yaml").read_text() == text

    def test_bytes_stay(self, tmp_path: Path) -> None:
        crlf = MODEL.replace("\n", "\r\n")
        config = self.migrated(tmp_path, config="# a\r\npredict: predict.py:Predictor\r\n", predict=crlf)
        assert config == "# a\r\nrun: run.py:Runner\r\n"
        assert (tmp_path / "run.py").read_bytes() == RENAMED.replace("\n", "\r\n").encode()
        (tmp_path / "run.py").unlink()
        self.migrated(tmp_path, predict=b"\xef\xbb\xbf" + MODEL.encode())
        assert (tmp_path / "run.py").read_bytes() == b"\xef\xbb\xbf" + RENAMED.encode()
        (tmp_path / "run.py").unlink()
        head = b"# -*- coding: latin-1 -*-\n# \xe9\nE = '\xe9', Predictor\n"
        self.migrated(tmp_path, predict=head + MODEL.encode())
        assert (tmp_path / "run.py").read_bytes() == head.replace(b"Predictor", b"Runner") + RENAMED.encode()

    def test_what_is_no_python(self, fresh: Cogsmith, tmp_path: Path) -> None:
        (tmp_path / "cog.yaml").write_text("predict: predict.py:Predictor\n")
        (tmp_path / "predict.py").write_text('print "x"\n')
        done = fresh("doctor", "--fix", cwd=tmp_path, env=MACHINE, ok=False)
        assert done.code == 1
        assert "hint: `predict.py` is not valid Python" in done.out
        assert (tmp_path / "predict.py").read_text() == 'print "x"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("try:\n    from cog import {}\nexcept ImportError: pass\n", "try:\n    pass\nexcept ImportError: pass\n"),
        ("from cog import {}, Path  # both\r\nx = 1\r\n", "from cog import Path  # both\r\nx = 1\r\n"),
        ("from .cog import {}\nfrom cog import {}\n", "from .cog import {}\n"),
        ("import os; from cog import {}; x = 1\n", "import os; pass; x = 1\n"),
        ("a = '\x0c'\nfrom cog import (\n    {},\n)  # gone\nx = 1\n", "a = '\x0c'\nx = 1\n"),
    ],
)
def test_an_import_is_taken_out(tmp_path: Path, before: str, after: str) -> None:
    name = "ExperimentalFeatureWarning"
    path = tmp_path / "a.py"
    path.write_bytes(before.replace("{}", name).encode())
    remove_import(path, name, shown="a.py")
    assert path.read_bytes().decode() == after.replace("{}", name)


@pytest.mark.parametrize(
    ("config", "source", "said"),
    [
        ("build: [", "", "cog.yaml"),
        ('build: {python_version: "2.7"}\nrun: run.py:Runner\n', "", "2.7"),
        ("run: run.py:Runner\n", "class Other: ...\n", "`Runner`"),
        ("run: absent.py:Runner\n", "", "absent.py"),
        ("run: run.py:Runner\n", "class Runner:\n    def run(self, text) -> str: ...\n", "no type annotation"),
        ("run: run.py:Runner\n", "class Runner:\n    def run(self, text: str): ...\n", "return type"),
        ("run: run.py:Runner\n", "class Runner:\n", "not valid Python"),
    ],
)
def test_errors(fresh: Cogsmith, tmp_path: Path, config: str, source: str, said: str) -> None:
    (tmp_path / "cog.yaml").write_text(config)
    (tmp_path / "run.py").write_text(source)
    done = fresh("doctor", cwd=tmp_path, env=MACHINE, ok=False)
    assert done.code == 1
    assert said in done.out
    assert "1 error, " in done.out


@pytest.mark.parametrize(
    "body",
    [
        "class Out(BaseModel, arbitrary_types_allowed=True):\n    x: int\n",
        "class Out(BaseModel):\n    model_config = {'arbitrary_types_allowed': True}\n",
        "class Out(BaseModel):\n    class Config:\n        arbitrary_types_allowed = True\n",
        "class Out(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n",
    ],
)
def test_arbitrary_types(fresh: Cogsmith, tmp_path: Path, body: str) -> None:
    folder = write_project(tmp_path / "p")
    (folder / "lib.py").write_text(f"from pydantic import BaseModel, ConfigDict\n\n\n{body}")
    done = fresh("doctor", cwd=folder, env=MACHINE)
    assert "lib.py:4: `Out` allows arbitrary types" in done.out
    (folder / "lib.py").write_text(f"from pydantic import BaseModel, ConfigDict\n\n\n{body.replace('True', 'False')}")
    assert "allows arbitrary" not in fresh("doctor", cwd=folder, env=MACHINE).out


def test_machine(fresh: Cogsmith, tmp_path: Path) -> None:
    done = fresh("doctor", "--offline", "--json", cwd=tmp_path, ok=False)
    found = json.loads(done.out)
    texts = [item["text"] for item in found]
    assert "cog.yaml not found" in texts[0]
    assert any("the store" in text for text in texts)
    assert any("uv is at" in text for text in texts)
    assert not any("answers" in text for text in texts)
    assert done.code == int(any(item["level"] == "error" for item in found))


def test_machine_without_uv_s_index_and_mirrors(fresh: Cogsmith, tmp_path: Path) -> None:
    dead = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_FIND_LINKS": "",
        "UV_EXTRA_INDEX_URL": "http://127.0.0.1:9/more",
        "UV_HTTP_RETRIES": "0",
        "PIP_CONFIG_FILE": "/dev/null",
        "COGSMITH_DEBIAN_MIRROR": "http://127.0.0.1:9/debian",
    }
    done = fresh("doctor", cwd=tmp_path, env=dead, ok=False)
    assert done.code == 1
    assert "error: could not resolve the Python packages" in done.out
    assert "could not read `http://127.0.0.1:9/debian/dists/bookworm/InRelease`" in done.out


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x20\x90\xe0" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class TestInit:
    def test_files(self, fresh: Cogsmith, tmp_path: Path) -> None:
        (tmp_path / "run.py").write_text("mine = True\n")
        done = fresh("init", cwd=tmp_path)
        assert done.out == ""
        assert done.err.startswith("Setting up the current directory for use with Cog...\n")
        assert "Skipped existing run.py" in done.err
        assert (tmp_path / "run.py").read_text() == "mine = True\n"
        found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        names = {".dockerignore", ".github/workflows/push.yaml", "cog.yaml", "requirements.txt", "run.py"}
        assert {name for name in found if not name.startswith("cache/")} == names
        assert yaml.safe_load((tmp_path / ".github/workflows/push.yaml").read_text())["jobs"]["push"]["steps"]
        assert "/venv" in (tmp_path / ".dockerignore").read_text().splitlines()
        again = fresh("init", cwd=tmp_path)
        assert again.err.count("Skipped existing") == 5

    def test_where_nothing_can_be_written(self, fresh: Cogsmith, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = fresh("init", tmp_path / "file", ok=False)
        assert done.code == 3
        assert "could not write" in done.err

    @pytest.mark.network
    @pytest.mark.xdist_group("resize")  # the same base and the same package as that example
    @pytest.mark.usefixtures("containers")
    def test_the_new_project_works(self, cogsmith: Cogsmith, tmp_path: Path) -> None:
        folder = tmp_path / "new"
        cogsmith("init", folder)
        checked = cogsmith("doctor", cwd=folder, env=MACHINE)
        assert checked.out.splitlines()[-1] == "0 errors, 0 warnings"
        (folder / "in.png").write_bytes(png(40, 20))
        cogsmith("run", "-i", "image=@in.png", "-i", "scale=0.5", cwd=folder)
        data = (folder / "output.png").read_bytes()
        assert struct.unpack(">II", data[16:24]) == (20, 10)
