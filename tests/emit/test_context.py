"""The folder of `emit containerfile`: what it holds, and what its Containerfile says."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from builder.cli.emitting import fill
from builder.emit.files import SUMS, Emitted
from builder.emit.words import templates
from builder.errors import ConfigError
from builder.plan import Entry
from emit.handed import CODE, CONFIG, DEBS, IMAGE, LOCK, SERVER, WHEELS, folder_of, with_base

EPOCH = 1735689600


def texts(files: list[Emitted]) -> dict[str, str]:
    return {file.path: file.data.decode() for file in files if file.data is not None}


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and operand of each, continuation lines joined, as every builder reads them."""
    lines = [line for line in text.splitlines() if not line.startswith("#") and line.strip()]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_versions_are_locked_by_hash(tmp_path: Path) -> None:
    made = texts(folder_of(tmp_path))
    assert made["requirements.txt"] == (
        f"numpy @ https://index.example/numpy.whl \\\n    --hash=sha256:{WHEELS[0].sha256}\n"
        f"./wheels/local-1.0-py3-none-any.whl \\\n    --hash=sha256:{WHEELS[1].sha256}\n"
    )
    assert made["server-requirements.txt"].endswith(f"--hash=sha256:{SERVER[0].sha256}\n")
    assert made["debs.txt"].splitlines() == [
        f"http://m.example/p/ffmpeg.deb {DEBS[0].sha256} ffmpeg_7%3a5.1.6-0+deb12u1_amd64.deb",
        f"http://m.example/p/libx.deb {DEBS[1].sha256} libx_1.0~rc1_amd64.deb",
    ]
    pips = [rest for name, rest in instructions(made["Containerfile"]) if name == "RUN" and "pip install" in rest]
    assert len(pips) == 2
    assert all("--require-hashes" in pip and "--no-deps" in pip and "--no-index" in pip for pip in pips)


def test_nothing_that_kaniko_drops_without_a_word(tmp_path: Path) -> None:
    text = texts(folder_of(tmp_path))["Containerfile"]
    runs = [rest for name, rest in instructions(text) if name == "RUN"]
    assert "# syntax" not in text
    with_secret = [rest for rest in runs if rest.startswith("--mount")]
    assert with_secret == ["--mount=type=secret,id=my token,target=/t,required=true cat /t"]
    heredocs = [rest for rest in runs if "<<" in rest]
    assert [json.loads(rest) for rest in heredocs] == [["/bin/sh", "-c", CONFIG.commands[1].command]]
    assert max(map(len, text.splitlines())) < 60_000


def test_order_and_bases(tmp_path: Path) -> None:
    def steps(**more: object) -> list[str]:
        found = instructions(texts(folder_of(tmp_path, **more))["Containerfile"])  # type: ignore[arg-type]
        return [f"{name} {rest}" for name, rest in found if name not in ("ENV", "LABEL")]

    own = steps()
    assert own[:2] == ["FROM scratch", "ADD layers/debian.tar.gz /"]
    order = ["apt-helper", "-m venv", "requirements.txt", "COPY runtime", "echo one", "COPY weights", "COPY src", "CMD"]
    places = [next(i for i, step in enumerate(own) if word in step) for word in order]
    assert places == sorted(places)
    image = steps(lock=with_base(IMAGE))
    assert image[:3] == [f"ARG BASE={IMAGE.reference}@{IMAGE.digest}", "FROM ${BASE}", "USER root"]
    assert image[-3] == "USER app"
    other = steps(base="debian:12")
    assert other[:2] == ["ARG BASE=debian:12", "FROM ${BASE}"]
    assert "apt-get install -qqy --no-install-recommends ca-certificates python3" in " ".join(other[2].split())
    with pytest.raises(ConfigError, match="is on this machine alone"):
        folder_of(tmp_path, lock=with_base(dataclasses.replace(IMAGE, reference="oci:/somewhere")))
    unreachable = tuple(dataclasses.replace(remote, urls=("file:///x",)) for remote in LOCK.remotes)
    with pytest.raises(ConfigError, match=r"`ffmpeg 7:5.1.6-0\+deb12u1` has no address"):
        folder_of(tmp_path, lock=dataclasses.replace(LOCK, remotes=unreachable))


def test_the_values_of_labels_survive(tmp_path: Path) -> None:
    text = texts(folder_of(tmp_path))["Containerfile"]
    labels = dict(rest.split("=", 1) for name, rest in instructions(text) if name == "LABEL")
    read = re.sub(r"\\(.)", r"\1", labels['"run.cog.openapi_schema"'][1:-1])
    assert json.loads(read) == {"info": {"description": "it's $HOME, \\ \" and # " * 3000}}


def test_labels_for_kaniko(tmp_path: Path) -> None:
    """One of its builds reads `LABEL` several times: what would not survive that goes by a flag."""
    made = texts(folder_of(tmp_path))
    plain, whole = made["Containerfile.kaniko"], made["Containerfile"]
    assert plain == "".join(line for line in whole.splitlines(True) if line in plain.splitlines(True))
    labels = dict(rest.split("=", 1) for name, rest in instructions(plain) if name == "LABEL")
    assert labels.keys() == {'"run.cog.version"', '"run.cog.has_init"'}
    given = {name.removeprefix("labels/"): value for name, value in made.items() if name.startswith("labels/")}
    assert given.keys() == {"run.cog.config", "run.cog.openapi_schema", "run.cog.pip_freeze"}
    assert given["run.cog.pip_freeze"] == "numpy==1.0\nlocal==1.0\n"


def test_on_disk(tmp_path: Path) -> None:
    """Every file with its mode; `sha256sum` finds it whole, and the same again is the same."""
    (tmp_path / "files").mkdir()
    files = folder_of(tmp_path / "files")
    out = tmp_path / "out"
    out.mkdir()
    fill(files, folder=out, epoch=EPOCH)
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {f"src/{name}" for name in CODE} | {"src/.cog/openapi_schema.json", "weights/weights/w.bin"} <= there
    assert {"runtime/cog/__init__.py", "layers/debian.tar.gz", "wheels/local-1.0-py3-none-any.whl"} <= there
    assert (out / "src" / "link").readlink() == Path("../x y")
    assert (out / "src" / "empty").is_dir()
    modes = {oct(path.stat().st_mode & 0o7777) for path in out.rglob("*") if path.is_file()}
    assert modes == {"0o644", "0o755"}
    assert (out / "src" / "tool.sh").stat().st_mode & 0o111
    assert {path.lstat().st_mtime for path in out.rglob("*")} == {EPOCH}
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=out, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(b": OK\n") == len(there) - 1  # not its own
    assert folder_of(tmp_path / "files") == files
    assert (out / ".dockerignore").read_text().split() == [".dockerignore", "README.md", SUMS, "labels"]


def test_the_commands_for_a_flake_may_be_typed() -> None:
    """Those that put large files into the store, whatever they are called."""
    large = [Entry(path="it's my weights.bin", type="file", mode=0o644, size=1, sha256="0" * 64)]
    values = {"name": "x", "version": "1", "platform": "linux/amd64", "system": "", "nixpkgs": False, "executed": []}
    text = templates().get_template("nix/readme.j2").render(values | {"large": large})
    (line,) = [line for line in text.splitlines() if line.startswith("    cp ")]
    assert shlex.split(line)[:4] == ["cp", "it's my weights.bin", "/tmp/file", "&&"]
