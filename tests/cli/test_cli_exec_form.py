"""`cogsmith run COMMAND`, which is `exec` today: when a word is a command, and when an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_projects import SOURCE

from builder.cli.exec import check_port
from builder.cli.run import wants_command
from builder.errors import InputError
from tests.conftest import Cogsmith

IMAGES = {"my-model", "my-model:v2", "python-model"}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("python", True),
        ("bash", True),
        ("python train.py --epochs 3", True),
        ("python -c print(1)", True),
        ("python -i x.py", True),
        ("bash -e script.sh", True),
        ("script/download-weights", True),  # is a file of this folder
        ("script/download-weights sdxl", True),
        ("script/" + "A" * 300, False),
        ("./go", True),
        ("/usr/bin/env", True),
        ("jupyter notebook --allow-root --ip=0.0.0.0", True),
        ("accelerate launch train.py", True),
        ("nvidia-smi -L", True),
        ("", False),
        ("my-model", False),
        ("my-model -i text=x", False),
        ("my-model:v2 anything at all", False),
        ("python-model --whatever", False),
        ("r8.im/you/model", False),
        ("r8.im/you/model -i text=x", False),
        ("localhost/model", False),
        ("absent:latest", False),
        ("you/absent", False),
        ("absent", False),  # alone: a mistyped image is likelier than a program
        ("absent -i text=x", False),
        ("absent --input=text=x", False),
        ("absent -itext=x", False),
        ("absent --json {}", False),
        ("absent --json={}", False),
        ("absent -o out.png", False),
        ("absent --help", False),
        ("absent --engine podman -i text=x", False),
        ("absent --base=cuda", False),
        ("absent --debug -i text=x", False),
        ("absent --debug train.py", True),
        ("absent --no-cog-base-image", False),
        ("absent --publish 80", True),  # is for commands alone
        ("text=x", False),
    ],
)
def test_rule(line: str, command: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "download-weights").touch()
    monkeypatch.chdir(tmp_path)
    assert wants_command(line.split(), predicting=False, is_image=IMAGES.__contains__) == command


def test_exec_refuses_what_is_no_option(cogsmith: Cogsmith, tmp_path: Path) -> None:
    done = cogsmith("exec", "--gpu", "all", "true", cwd=tmp_path, ok=False)
    assert (done.code, done.out) == (2, "")
    assert "No such option" in done.err
    assert "--gpus" in done.err
    done = cogsmith("exec", "true", "--gpu", "all", cwd=tmp_path, ok=False)
    assert "cog.yaml not found" in done.err  # so far it is all the command's


def test_after_a_prediction_s_option_it_is_an_image() -> None:
    assert not wants_command(["python"], predicting=True, is_image=IMAGES.__contains__)


@pytest.mark.parametrize("text", ["8000", "1", "65535", "0.0.0.0:8000", "127.0.0.1:80", "[::1]:8000"])
def test_ports(text: str) -> None:
    check_port(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "http", "8000:80", "1.2.3:80", "::1:80", "[x]:80", "-1", "٣"])
def test_ports_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="invalid port"):
        check_port(text)


@pytest.mark.network
@pytest.mark.xdist_group("hello")
@pytest.mark.usefixtures("containers")
class TestForReal:
    @pytest.fixture
    def folder(self, model: Callable[[Path, str], Path], tmp_path: Path) -> Path:
        folder = model(tmp_path / "old-form", SOURCE)  # whose image no test beside this one makes
        (folder / "script").mkdir()
        script = folder / "script" / "download-weights"
        script.write_text('#!/bin/sh\necho "$1" > weights; echo "$SAID"; exit 3\n')
        script.chmod(0o755)
        return folder

    def test_old_form(self, cogsmith: Cogsmith, folder: Path) -> None:
        done = cogsmith("run", "-e", "SAID=hi", "script/download-weights", "-i", "a=b", cwd=folder, ok=False)
        assert (done.code, done.out) == (3, "hi\n")
        assert "today's name for that is `cogsmith exec`" in done.err
        assert (folder / "weights").read_text() == "-i\n"
        done = cogsmith("run", "-p", "8888", "python", "-c", "import sys; print(sys.argv)", "--help", cwd=folder)
        assert done.out == "['-c', '--help']\n"
        done = cogsmith("run", "--", "echo", "--strip=true", cwd=folder)
        assert done.out == "--strip=true\n"

    def test_a_prediction_all_the_same(self, cogsmith: Cogsmith, folder: Path) -> None:
        assert cogsmith("run", "-i", "text=python", cwd=folder).out == "python\n"
        assert cogsmith("run", "cog-old-form", "-i", "text=image", cwd=folder).out == "image\n"
        assert cogsmith("run", "-i", "text=before", "cog-old-form", cwd=folder).out == "before\n"
        done = cogsmith("predict", "cog-old-form", cwd=folder)
        assert done.out == "x\n"
        assert "`cogsmith predict` is deprecated, use `cogsmith run`" in done.err

    def test_a_model_whose_source_is_broken(self, cogsmith: Cogsmith, folder: Path) -> None:
        (folder / "run.py").write_text("def (")
        done = cogsmith("exec", "echo", "still", cwd=folder)
        assert done.out == "still\n"
        assert "the model has no schema" in done.err
        assert "`run.py` is not valid Python" in cogsmith("run", cwd=folder, ok=False).err

    def test_gpus(self, cogsmith: Cogsmith, folder: Path) -> None:
        done = cogsmith("exec", "--gpus", "some", "true", cwd=folder, ok=False)
        assert 'invalid GPU specification: "some"' in done.err
        if not Path("/dev/nvidia0").exists():
            done = cogsmith("run", "--gpus", "all", cwd=folder, ok=False)
            assert (done.code, done.out) == (8, "")
            assert "no NVIDIA device" in done.err

    def test_the_host_has_a_name(self, cogsmith: Cogsmith, folder: Path) -> None:
        code = "import socket; print(socket.gethostbyname('host.docker.internal'))"
        assert cogsmith("exec", "python", "-c", code, cwd=folder).out == "127.0.0.1\n"
