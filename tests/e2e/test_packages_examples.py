"""The example with system packages: locked, built, run, and what is said on the way."""

from __future__ import annotations

import json
import shutil
import tomllib
import wave
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cogsmith

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello"), pytest.mark.usefixtures("containers")]


def test_sound(cogsmith: Cogsmith, tmp_path: Path) -> None:
    folder = tmp_path / "sound"
    shutil.copytree(ROOT / "examples" / "sound", folder)
    text = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(text.replace("- sox", "- sox --yes"))  # as for a shell
    done = cogsmith("lock", "--no-layers", cwd=folder)
    assert "added sox 14." in done.err
    assert "    sox is asked for\n" in cogsmith("why", "sox", cwd=folder).out
    locked = tomllib.loads((folder / "pylock.cog.toml").read_text())["tool"]["cogsmith"]["system-packages"]
    names = [deb["package"] for deb in locked]
    assert {"sox", "libsox3", "libsox-fmt-base"} <= {*names}  # the last is recommended
    assert all(len(deb["sha256"]) == 64 and deb["size"] and deb["urls"] for deb in locked)
    assert "libc6" not in names  # which is in the base
    assert cogsmith("lock", "--check", cwd=folder).out == ""
    (layer,) = [
        layer
        for layer in json.loads(cogsmith("plan", "--json", cwd=folder).out)["layers"]
        if layer["kind"] == "packages"
    ]
    assert layer["reason"] == f"`build.system_packages`: 1 asked for, {len(names)} with what they need"
    built = cogsmith("build", "-t", "sound", cwd=folder)
    again = cogsmith("build", "-t", "sound", cwd=folder)
    assert again.out == built.out
    assert "apt |" not in again.err
    cogsmith("run", "sound", "-i", "frequency=1000", "-i", "seconds=0.5", cwd=tmp_path)
    with wave.open(str(tmp_path / "output.wav")) as tone:
        assert (tone.getframerate(), tone.getnframes()) == (16000, 8000)


def test_names_are_checked_before_anything_is_done(cogsmith: Cogsmith, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text((ROOT / "examples" / "sound" / "run.py").read_text())
    yaml = 'build:\n  python_version: "3.11"\n  system_packages: {names}\nrun: "run.py:Runner"\n'
    (tmp_path / "cog.yaml").write_text(yaml.format(names='["-oDir::Etc=/tmp", "Git"]'))
    done = cogsmith("build", cwd=tmp_path, ok=False)
    assert done.code == 3
    assert "`-oDir::Etc=/tmp`: of apt's options" in done.err
    assert "`Git`: names of packages have no capital letters" in done.err
    (tmp_path / "cog.yaml").write_text(yaml.format(names="[libmagic1 ffmpegg, libssl1.1]"))
    done = cogsmith("build", cwd=tmp_path, ok=False)
    assert done.code == 4
    assert "`ffmpegg`: did you mean `ffmpeg`" in done.err
    assert "`libssl1.1` is gone: `libssl3` takes its place" in done.err


def test_all_in_the_base(cogsmith: Cogsmith, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "hello-world", tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "cog.yaml").read_text().replace("build:\n", "build:\n  system_packages: [ca-certificates]\n")
    (tmp_path / "cog.yaml").write_text(text)
    plan = cogsmith("plan", "--json", cwd=tmp_path)
    assert "all of `build.system_packages` is in the base" in plan.err
    assert not [layer for layer in json.loads(plan.out)["layers"] if layer["kind"] == "packages"]
