from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest
import uv
from packaging.utils import parse_wheel_filename
from runtime_image import ROOT, document, serving

from builder.resolve import pin_runtime

PINS = json.loads((ROOT / "builder/runtime_pins.json").read_text())
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")


def test_every_python_and_platform_has_its_wheels() -> None:
    assert PINS["version"] == 1
    assert list(PINS["pins"]) == list(pin_runtime.PYTHONS)
    assert PINS["glibc"] == "2.17"
    assert set(PINS["pins"]) == {"3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"}
    for python, platforms in PINS["pins"].items():
        assert set(platforms) == {"amd64", "arm64"}
        names = [[wheel["name"] for wheel in wheels] for wheels in platforms.values()]
        assert names[0] == names[1] == sorted(names[0])
        versions = [[wheel["version"] for wheel in wheels] for wheels in platforms.values()]
        assert versions[0] == versions[1], "the same server on both"
        assert {"fastapi", "uvicorn", "uvloop", "httptools", "pydantic-core"} <= set(names[0])
        for name, wheels in platforms.items():
            tags = pin_runtime.supported_tags(python, machine=pin_runtime.MACHINES[name])
            for wheel in wheels:
                assert set(wheel) == {"name", "version", "filename", "sha256", "size"}
                assert len(wheel["sha256"]) == 64
                assert wheel["size"] > 1000
                assert parse_wheel_filename(wheel["filename"])[3] & set(tags), wheel["filename"]


def test_the_file_is_written_as_the_program_writes_it() -> None:
    assert (ROOT / "builder/runtime_pins.json").read_text() == pin_runtime.dumps(PINS)


def test_old_systems_are_kept_in_mind() -> None:
    tags = {str(tag) for tag in pin_runtime.supported_tags("3.11", machine="x86_64")}
    assert {"cp311-cp311-manylinux2014_x86_64", "cp311-abi3-manylinux_2_5_x86_64", "py3-none-any"} <= tags
    assert not any("manylinux_2_28" in tag or "musl" in tag for tag in tags)


def interpreter(minor: str) -> Path | None:
    """A CPython of this minor version on this machine."""
    places = [*Path.home().glob(f".pyenv/versions/{minor}.*/bin/python{minor}"), Path(f"/usr/bin/python{minor}")]
    return next((place.resolve() for place in places if place.exists()), None)


@pytest.mark.network
@pytest.mark.parametrize("minor", pin_runtime.PYTHONS)
def test_the_pinned_server_runs(minor: str, tmp_path: Path) -> None:
    """Exactly the wheels that an image gets, checked by their hashes, on each interpreter of this machine."""
    base = interpreter(minor)
    if base is None:
        pytest.skip(f"no Python {minor} on this machine")
    if not MACHINE:
        pytest.skip(f"no server is pinned for {platform.machine()}")
    lines = [f"{pin['name']}=={pin['version']} --hash=sha256:{pin['sha256']}" for pin in PINS["pins"][minor][MACHINE]]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    command = [
        uv.find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:",
        "--python", str(base), "--target", str(tmp_path / "server"), "-r", str(tmp_path / "requirements.txt"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    source = """
        import sys
        from typing import Optional
        from cog import BaseModel, BasePredictor, ConcatenateIterator, Input, Path, Secret
        class Output(BaseModel):
            version: str
            file: Path
            secret: str
        class Predictor(BasePredictor):
            def predict(self, file: Path, secret: Secret, n: Optional[int] = Input(default=None)) -> Output:
                print("hello")
                return Output(version="%d.%d" % sys.version_info[:2], file=file, secret=secret.get_secret_value())
    """
    schema = document(
        {
            "file": {"type": "string", "format": "uri"},
            "secret": {"type": "string"},
            "n": {"type": "integer", "nullable": True},
        },
        ("file", "secret"),
    )
    python = (base, minor, tmp_path / "server")
    with serving(tmp_path, source, schema=schema, python=python, COG_PREDICT_TYPE_STUB="run.py:Predictor") as server:
        answer = server.predict(file="data:text/plain;base64,aGk=", secret="s", n=None)
        assert answer["output"] == {"version": minor, "file": "data:text/plain;base64,aGk=", "secret": "s"}, answer
        assert answer["logs"] == "hello\n"
        assert server.health()["version"]["python"].startswith(minor)
        server.worker_pid()
        assert server.end() == 0
