"""Files of credentials, helpers, challenges, references."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from builder.errors import ConfigError, RegistryError
from builder.reference import normalised, parse
from builder.registry.answers import is_loopback
from builder.registry.auth import Challenge, Credentials, find_credentials, parse_challenges


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def find(text: str, env: dict[str, str]) -> Credentials | None:
    return find_credentials(normalised(parse(text)), env=env)


def user(found: Credentials | None) -> str | None:
    return found.username if found else None


def test_files_in_order(home: Path, tmp_path: Path) -> None:
    env = {"HOME": str(home)}
    assert find("r8.im/me/model", env) is None
    write(home / ".docker" / "config.json", {"auths": {"r8.im": auth("docker", "a:b")}})
    assert find("r8.im/me/model", env) == Credentials(username="docker", password="a:b")
    write(home / ".config" / "containers" / "auth.json", {"auths": {"r8.im": auth("config", "x")}})
    assert user(find("r8.im/me/model", env)) == "config"
    write(tmp_path / "run" / "containers" / "auth.json", {"auths": {"r8.im": auth("runtime", "x")}})
    env["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    assert user(find("r8.im/me/model", env)) == "runtime"
    write(tmp_path / "dc" / "config.json", {"auths": {"https://r8.im/v2/": auth("docker-config", "x")}})
    env["DOCKER_CONFIG"] = str(tmp_path / "dc")
    assert user(find("r8.im/me/model", env)) == "docker-config"
    env["REGISTRY_AUTH_FILE"] = str(write(tmp_path / "auth.json", {"auths": {"r8.im": auth("file", "x")}}))
    assert user(find("r8.im/me/model", env)) == "file"
    assert find("example.com/x", env) is None


def test_podmans_file_where_nothing_names_a_runtime_folder(home: Path, tmp_path: Path, runtime_folder: Path) -> None:
    write(runtime_folder / str(os.getuid()) / "auth.json", {"auths": {"r8.im": auth("of the user", "x")}})
    write(home / ".config" / "containers" / "auth.json", {"auths": {"r8.im": auth("config", "x")}})
    env = {"HOME": str(home)}
    assert user(find("r8.im/me/model", env)) == "of the user"
    assert user(find("r8.im/me/model", {**env, "XDG_RUNTIME_DIR": str(tmp_path)})) == "config"
    write(tmp_path / "dc" / "config.json", {"auths": {"r8.im": auth("docker-config", "x")}})
    assert user(find("r8.im/me/model", {**env, "DOCKER_CONFIG": str(tmp_path / "dc")})) == "docker-config"


def test_most_specific_entry_wins(home: Path) -> None:
    entries = {"q.io": auth("host", "x"), "q.io/team": auth("team", "x"), "q.io/team/app": auth("app", "x")}
    write(home / ".config" / "containers" / "auth.json", {"auths": entries})
    env = {"HOME": str(home)}
    assert user(find("q.io/team/app", env)) == "app"
    assert user(find("q.io/team/app2", env)) == "team"
    assert user(find("q.io/teams", env)) == "host"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://docker.io"])
def test_docker_hub_has_many_names(home: Path, key: str) -> None:
    write(home / ".docker" / "config.json", {"auths": {key: auth("hub", "x")}})
    assert user(find("python:3.13", {"HOME": str(home)})) == "hub"


def test_tokens(home: Path) -> None:
    write(home / ".docker" / "config.json", {"auths": {"a.io": {"identitytoken": "I"}, "b.io": {"registrytoken": "R"}}})
    assert find("a.io/x", {"HOME": str(home)}) == Credentials(identity_token="I")
    assert find("b.io/x", {"HOME": str(home)}) == Credentials(registry_token="R")


def helper(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\nread server; echo "$1 $server" >> {folder}/asked\n{script}\n')
    path.chmod(0o755)


def test_helpers(home: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    helper(tools, "one", """echo '{"ServerURL": "x", "Username": "kept", "Secret": "in a vault"}'""")
    helper(
        tools,
        "all",
        """case $server in https://index*) echo '{"Username": "<token>", "Secret": "idt"}';;
        *) echo "credentials not found in native keychain"; exit 1;; esac""",
    )
    helper(tools, "broken", "echo 'the vault is locked' >&2; exit 3")
    env = {"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
    config = {
        "auths": {"one.io": {}, "three.io": auth("plain", "x")},
        "credHelpers": {"one.io": "one", "bad.io": "broken", "gone.io": "absent"},
        "credsStore": "all",
    }
    write(home / ".docker" / "config.json", config)
    assert find("one.io/x", env) == Credentials(username="kept", password="in a vault")
    assert find("python", env) == Credentials(identity_token="idt")
    assert find("two.io/x", env) is None
    assert user(find("three.io/x", env)) == "plain"
    with pytest.raises(RegistryError, match=r"no credentials for `bad\.io`") as caught:
        find("bad.io/x", env)
    assert "the vault is locked" in str(caught.value)
    with pytest.raises(RegistryError, match="could not ask `docker-credential-absent`"):
        find("gone.io/x", env)
    assert (tools / "asked").read_text().splitlines()[:2] == ["get one.io", "get https://index.docker.io/v1/"]


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": {"r8.im": {"auth": "%%%"}}}'])
def test_broken_files(home: Path, content: str) -> None:
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(RegistryError) as caught:
        find("r8.im/x", {"HOME": str(home)})
    assert str(path) in str(caught.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials(username="me", password="hush", identity_token="hush", registry_token="hush"))
    assert "hush" not in shown
    assert "me" in shown


def test_challenges() -> None:
    header = 'Bearer realm="https://auth.example/t?a=1,2",service="re \\"gistry",scope="repository:a/b:pull,push"'
    header += ', Basic realm="x"'
    assert parse_challenges(header) == [
        Challenge(
            scheme="bearer",
            parameters={
                "realm": "https://auth.example/t?a=1,2",
                "service": 're "gistry',
                "scope": "repository:a/b:pull,push",
            },
        ),
        Challenge(scheme="basic", parameters={"realm": "x"}),
    ]


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag"),
    [
        ("python", "docker.io", "library/python", ""),
        ("user/model:v1", "docker.io", "user/model", "v1"),
        ("docker.io/python", "docker.io", "library/python", ""),
        ("r8.im/user/model", "r8.im", "user/model", ""),
        ("localhost/x", "localhost", "x", ""),
        ("localhost:5000/a/b__c:T.1", "localhost:5000", "a/b__c", "T.1"),
        ("[::1]:5000/x:y", "[::1]:5000", "x", "y"),
    ],
)
def test_references(text: str, registry: str, repository: str, tag: str) -> None:
    found = normalised(parse(text))
    assert (found.registry, found.repository, found.tag) == (registry, repository, tag)


def test_reference_with_digest() -> None:
    digest = "sha256:" + "0a" * 32
    found = parse(f"r8.im/a/b:v1@{digest}")
    assert (found.tag, found.digest, found.pointer) == ("v1", digest, digest)
    assert str(found) == f"r8.im/a/b:v1@{digest}"
    assert found.tagged == "r8.im/a/b:v1"


@pytest.mark.parametrize(
    "text",
    ["", "Hello", "a b", "a/", "/a", "a:", "a:b:c", "a@sha256:12", "../x", "a//b", "x:" + "t" * 129, "R/x", "-a"],
)
def test_no_references(text: str) -> None:
    with pytest.raises(ConfigError, match="not an image reference"):
        parse(text)


def test_reference_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("Hello-World:V1")
    assert caught.value.hint == "did you mean `hello-world:v1`?"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("[::1]:5000", True),
        ("registry.example", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1:80", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
