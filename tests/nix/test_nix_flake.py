"""The flake of `emit nix`, built by Nix alone: with the interpreter in the folder, and with that of a nixpkgs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from builder.backends import nix_tool
from tests.conftest import Cogsmith

ON = ("--extra-experimental-features", "nix-command flakes")

# A nixpkgs of one package: a python3 that starts as it is, for which a static shell stands in.
MOCK = """{
  outputs = { self }: {
    legacyPackages.x86_64-linux.hello = derivation {
      name = "hello-1.0";
      system = "x86_64-linux";
      builder = "${./bin}/busybox";
      args = [ "sh" "-c" ''
        ${./bin}/busybox mkdir -p $out/bin $out/share
        ${./bin}/busybox ln -s ${./bin}/busybox $out/bin/greet
        echo x > $out/share/x
      '' ];
    };
    legacyPackages.x86_64-linux.python3 = derivation {
      name = "python3";
      system = "x86_64-linux";
      builder = "${./bin}/busybox";
      args = [ "sh" "-c" ''
        ${./bin}/busybox mkdir -p $out/bin
        echo "#!${./bin}/busybox sh" > $out/bin/python3
        echo 'exec ${./seed}/lib/ld.so --library-path ${./seed}/lib ${./seed}/bin/python3 "$@"' >> $out/bin/python3
        ${./bin}/busybox chmod 755 $out/bin/python3
      '' ];
    };
  };
}
"""


@pytest.fixture(scope="module")
def built(cogsmith: Cogsmith, locked_hello: Path, nix_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hello-world with a lock that has digests, whose layers are here."""
    project = tmp_path_factory.mktemp("flake") / "hello"
    shutil.copytree(locked_hello, project)
    cogsmith("lock", cwd=project)
    return project


def build(flake: Path, *, nix_store: Path, options: tuple[str, ...] = ()) -> Path:
    """The layout that `nix build` makes of a folder, without a network."""
    link = flake.parent / f"result-{flake.name}"
    argv = nix_tool.Tool(private=nix_store).argv("nix", *ON, *options, "--out-link", link, f"path:{flake}")
    done = subprocess.run([argv[0], "build", *argv[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(f"{nix_store}{link.readlink()}")


def manifest(layout: Path) -> str:
    return str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


def test_a_flake_that_needs_nothing_else(built: Path, cogsmith: Cogsmith, nix_store: Path, tmp_path: Path) -> None:
    wanted = cogsmith("build", "--locked", "-q", cwd=built).out.strip()
    assert (
        cogsmith("build", "--locked", "-q", "--backend", "nix", "--nix-store", nix_store, cwd=built).out.strip()
        == wanted
    )
    flake = tmp_path / "one"
    cogsmith("emit", "nix", "--locked", "-o", flake, cwd=built)
    (text,) = [path.read_text() for path in flake.glob("flake.nix")]
    assert "nixpkgs" not in text
    layout = build(flake, nix_store=nix_store)
    assert manifest(layout) == wanted
    # The README's command without flakes makes the same.
    (line,) = [line for line in (flake / "README.md").read_text().splitlines() if line.startswith("    nix-build ")]
    argv = nix_tool.Tool(private=nix_store).argv(*shlex.split(line), "--no-out-link")
    done = subprocess.run(argv, cwd=flake, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(layout).removeprefix(str(nix_store)), done.stderr
    # What Nix made is an image to others.
    assert cogsmith("image", "import", layout, "-t", "from-nix").out.strip() == wanted
    # Emitted again the same; changed by hand it is not written over.
    before = {path: path.lstat().st_mtime for path in flake.rglob("*")}
    cogsmith("emit", "nix", "--locked", "-o", flake, cwd=built)
    assert {path: path.lstat().st_mtime for path in flake.rglob("*")} == before
    (flake / "flake.nix").write_text("{ }")
    assert "changed since: flake.nix" in cogsmith("emit", "nix", "-o", flake, cwd=built, ok=False).err


def test_with_the_python_of_a_nixpkgs(
    built: Path, cogsmith: Cogsmith, nix_store: Path, tmp_path: Path, tool: object
) -> None:
    busybox = tool("busybox")  # type: ignore[operator]
    if b"statically linked" not in subprocess.run(["file", "-L", busybox], capture_output=True, check=False).stdout:
        pytest.skip("busybox is not static")
    if os.uname().machine != "x86_64":
        pytest.skip("the mock of nixpkgs is for x86_64")
    mock = tmp_path / "mock"
    cogsmith("emit", "nix", "--locked", "-o", mock, cwd=built)
    for path in mock.iterdir():
        if path.name != "seed":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (mock / "bin").mkdir()
    shutil.copy(busybox, mock / "bin" / "busybox")
    (mock / "flake.nix").write_text(MOCK)
    (built / "run.py").write_text((built / "run.py").read_text() + "# for this test\n")
    wanted = cogsmith("build", "--locked", "-q", cwd=built).out.strip()
    flake = tmp_path / "two"
    cogsmith("emit", "nix", "--locked", "--nixpkgs", "-o", flake, cwd=built)
    assert not (flake / "seed").exists()
    layout = build(flake, nix_store=nix_store, options=("--override-input", "nixpkgs", f"path:{mock}"))
    assert manifest(layout) == wanted

    # And with packages of it: one layer more, under the code.
    config = (built / "cog.yaml").read_text()
    (built / "cog.yaml").write_text(config.replace("build:\n", "build:\n  nix_packages: [hello]\n"))
    refused = cogsmith("build", cwd=built, ok=False).err
    assert "`build.nix_packages` names packages of nixpkgs, and there is none here" in refused
    assert "emit nix --nixpkgs" in refused
    assert "emit nix --nixpkgs" in cogsmith("emit", "nix", "-o", tmp_path / "three", cwd=built, ok=False).err
    flake = tmp_path / "four"
    cogsmith("emit", "nix", "--nixpkgs", "-o", flake, cwd=built)
    layout = build(flake, nix_store=nix_store, options=("--override-input", "nixpkgs", f"path:{mock}"))
    image = json.loads((layout / "blobs" / "sha256" / manifest(layout)[7:]).read_bytes())
    with tarfile.open(layout / "blobs" / "sha256" / image["layers"][-2]["digest"][7:]) as tar:
        names = {member.name: member for member in tar}
    link = names["usr/local/bin/greet"].linkname.lstrip("/")
    assert names[link].issym()
    assert names[names[link].linkname.lstrip("/")].mode == 0o555  # busybox itself is in the closure
    assert names[f"{link.removesuffix('bin/greet')}share/x"].mode == 0o444
    # Where there is no nixpkgs, Nix says so in one line.
    spec = {"plan": flake / "plan.json", "src": flake / "src", "codec": flake / "codec", "seed": mock / "seed"}
    words = [word for name, value in spec.items() for word in ("--arg", name, str(value))]
    argv = nix_tool.Tool(private=nix_store).argv("nix-build", flake / "nix", "--no-out-link", *words)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "the plan asks for packages of nixpkgs (hello), and there is no nixpkgs" in done.stderr
