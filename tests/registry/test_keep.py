"""Credentials written where docker and podman find them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.errors import RegistryError
from builder.reference import Reference, normalised
from builder.registry.auth import Credentials, find_credentials
from builder.registry.keep import forget, keep

ME = Credentials(username="me", password="se:cret")


def found(registry: str, env: dict[str, str]) -> Credentials | None:
    return find_credentials(normalised(Reference(registry=registry, repository="a/b")), env=env)


def test_dockers_file(home: Path) -> None:
    env = {"HOME": str(home)}
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"psFormat": "kept", "auths": {"other.io": {"auth": "eDp5"}, "https://r8.im/v2/": {}}}))
    path.chmod(0o644)
    assert "config.json" in keep(ME, registry="r8.im", env=env)
    written = json.loads(path.read_text())
    assert written["psFormat"] == "kept"
    assert set(written["auths"]) == {"other.io", "r8.im"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["config.json"]
    assert found("r8.im", env) == ME
    assert forget("r8.im", env=env)
    assert not forget("r8.im", env=env)
    assert found("r8.im", env) is None
    assert found("other.io", env) is not None


def test_docker_hub_under_its_own_name(home: Path) -> None:
    env = {"HOME": str(home)}
    keep(ME, registry="docker.io", env=env)
    assert list(json.loads((home / ".docker" / "config.json").read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert found("docker.io", env) == ME


def test_where_the_environment_says(home: Path, tmp_path: Path) -> None:
    env = {"HOME": str(home), "DOCKER_CONFIG": str(tmp_path / "dc")}
    keep(ME, registry="r8.im", env=env)
    assert (tmp_path / "dc" / "config.json").exists()
    env["REGISTRY_AUTH_FILE"] = str(tmp_path / "auth.json")
    keep(ME, registry="q.io", env=env)
    assert list(json.loads((tmp_path / "auth.json").read_text())["auths"]) == ["q.io"]
    assert found("q.io", env) == ME


def test_an_older_entry_of_podman_does_not_win(home: Path) -> None:
    env = {"HOME": str(home)}
    podmans = home / ".config" / "containers" / "auth.json"
    podmans.parent.mkdir(parents=True)
    podmans.write_text(json.dumps({"auths": {"r8.im": {"auth": base64.b64encode(b"old:old").decode()}}}))
    keep(ME, registry="r8.im", env=env)
    assert found("r8.im", env) == ME
    assert forget("r8.im", env=env)
    assert found("r8.im", env) is None


def test_an_entry_of_podman_as_root(home: Path, runtime_folder: Path) -> None:
    env = {"HOME": str(home)}
    path = runtime_folder / str(os.getuid()) / "auth.json"
    keep(ME, registry="q.io", env=env)
    assert not path.exists()  # it goes where docker looks, too
    path.parent.mkdir(parents=True)
    old = {"auth": base64.b64encode(b"old:old").decode()}
    path.write_text(json.dumps({"auths": {"r8.im": old, "other.io": old}}))
    keep(ME, registry="r8.im", env=env)
    assert found("r8.im", env) == ME
    assert forget("r8.im", env=env)
    assert list(json.loads(path.read_text())["auths"]) == ["other.io"]
    assert found("r8.im", env) is None


def test_a_link_stays_a_link(home: Path, tmp_path: Path) -> None:
    (home / ".docker").mkdir()
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    (home / ".docker" / "config.json").symlink_to(real)
    keep(ME, registry="r8.im", env={"HOME": str(home)})
    assert (home / ".docker" / "config.json").is_symlink()
    assert "r8.im" in real.read_text()


def helper(folder: Path, *, script: str) -> dict[str, str]:
    """A credential program that keeps what it is given in a file."""
    folder.mkdir()
    program = folder / "docker-credential-vault"
    program.write_text(f"#!/bin/sh\nF={folder}/secret\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_credentials_store(home: Path, tmp_path: Path) -> None:
    script = 'case "$1" in store) cat > $F;; get) cat > /dev/null; cat $F 2>/dev/null || exit 1;; erase) rm $F;; esac'
    env = {"HOME": str(home), **helper(tmp_path / "tools", script=script)}
    (home / ".docker").mkdir()
    path = home / ".docker" / "config.json"
    path.write_text('{"credsStore": "vault"}')
    assert keep(ME, registry="r8.im", env=env) == "the program `docker-credential-vault`"
    assert json.loads((tmp_path / "tools" / "secret").read_text())["ServerURL"] == "r8.im"
    assert "se:cret" not in path.read_text()
    assert found("r8.im", env) == ME
    assert forget("r8.im", env=env)
    assert not (tmp_path / "tools" / "secret").exists()


def test_a_program_that_fails(home: Path, tmp_path: Path) -> None:
    env = {"HOME": str(home), **helper(tmp_path / "tools", script="cat > /dev/null; echo 'no key' >&2; exit 2")}
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credHelpers": {"r8.im": "vault", "q.io": "absent"}}')
    with pytest.raises(RegistryError, match="could not store the credentials") as caught:
        keep(ME, registry="r8.im", env=env)
    assert "no key" in str(caught.value)
    with pytest.raises(RegistryError, match="could not start `docker-credential-absent`"):
        keep(ME, registry="q.io", env=env)


def test_inline(home: Path) -> None:
    text = json.dumps({"auths": {"r8.im": {"auth": base64.b64encode(b"ci:token").decode()}}})
    assert found("r8.im", {"HOME": str(home), "DOCKER_AUTH_CONFIG": text}) == Credentials(
        username="ci", password="token"
    )
    with pytest.raises(RegistryError, match=r"\$DOCKER_AUTH_CONFIG.* is not JSON"):
        found("r8.im", {"HOME": str(home), "DOCKER_AUTH_CONFIG": "{"})


def test_podman_and_skopeo_find_it(home: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    keep(ME, registry="registry.example", env={"HOME": str(home)})
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home)}
    argv = ["skopeo", "login", "--get-login", "registry.example"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "me", done.stderr
