"""push, pull, login, list, show and plan --to, as a user types them, against registries on loopback."""

# ruff: noqa: F811 - fixtures of the registry's tests are imported
from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from replicate import OWNER, TOKEN, Replicate
from small_projects import error, one_of, write_project
from small_registry import PASSWORD, USER, Server

from tests.conftest import Cogsmith, Done
from tests.registry.conftest import bearer, private, public, start, tokens  # noqa: F401 - fixtures


@dataclasses.dataclass(frozen=True)
class Home(Cogsmith):
    """As the program of a user whose home is elsewhere."""

    home: Path

    def env(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {k: v for k, v in super().env().items() if k not in ("XDG_RUNTIME_DIR", "DOCKER_CONFIG")}
        return {**kept, "HOME": str(self.home), **(changes or {})}


@pytest.fixture
def box(tmp_path: Path, cogsmith: Cogsmith) -> Home:
    """The program with the store that all tests fill, and a home of its own."""
    (tmp_path / "home").mkdir()
    return Home(cogsmith.cache, tmp_path / "home")


@pytest.fixture
def empty(tmp_path: Path, box: Home) -> Home:
    """The same user at a machine with an empty store."""
    return Home(tmp_path / "empty", box.home)


@pytest.fixture(scope="session")
def pushable(cogsmith: Cogsmith, tiny: Path, shared: Path) -> Path:
    """A project on the tiny base, which costs nothing, locked with the digests of its layers."""
    folder = shared / "pushable"
    if not folder.exists():
        draft = shared / f"pushable.{os.getpid()}"
        write_project(draft, base=f"oci:{tiny}:tiny:amd64")
        cogsmith("lock", cwd=draft)
        try:
            draft.rename(folder)
        except OSError:  # another worker was quicker
            assert folder.exists()
    return folder


@pytest.fixture
def folder(pushable: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(pushable, tmp_path / "project"))


def inspect(host: str, name: str) -> dict[str, str]:
    argv = ["skopeo", "inspect", "--tls-verify=false", f"docker://{host}/{name}"]
    seen: dict[str, str] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return seen


def test_nothing_to_push_to(box: Home, folder: Path) -> None:
    text = error(box("push", cwd=folder, ok=False), 3)
    assert "To push images, you must either set the 'image' option in cog.yaml or pass an image name" in text


def test_push_builds_and_prints_the_digest(public: Server, box: Home, folder: Path) -> None:
    built = box("build", "-q", cwd=folder).out.strip()
    done = box("push", f"{public.host}/team/model:v1", cwd=folder)
    assert done.out == f"{built}\n"  # no random label: the pushed digest is the built one
    assert f"Pushing to {public.host}/team/model:v1..." in done.err
    assert f"  image  {public.host}/team/model@{built}" in done.err
    assert "\x1b" not in done.err
    if shutil.which("skopeo"):
        seen = inspect(public.host, "team/model:v1")
        assert seen["Digest"] == built
        assert "run.cog.push_id" not in seen["Labels"]
        assert {"run.cog.version", "run.cog.config", "run.cog.openapi_schema"} <= set(seen["Labels"])
    again = box("push", "-q", f"{public.host}/team/model:v1", cwd=folder)
    assert (again.out, again.err) == (f"{built}\n", "")


def test_push_an_image_of_the_store(public: Server, box: Home, folder: Path) -> None:
    built = box("build", "-q", "-t", f"{public.host}/x:v1", cwd=folder).out
    (folder / "run.py").unlink()  # nothing is built
    assert box("push", "--image", f"{public.host}/x:v1", cwd=folder).out == built
    assert box("push", "--image", f"{public.host}/x:v1", f"{public.host}/y:v2", cwd=folder).out == built
    assert "there is no image `nothing`" in error(box("push", "--image", "nothing", cwd=folder, ok=False))
    assert "cannot be pushed to" in error(box("push", f"{public.host}/x@{built.strip()}", cwd=folder, ok=False), 3)


def test_events(public: Server, box: Home, folder: Path) -> None:
    done = box("push", "--json", f"{public.host}/x:v1", cwd=folder)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[-1]["event"] == "pushed"
    assert events[-1]["digest"].startswith("sha256:")
    layers = [event for event in events if event["event"] == "layer"]
    assert {event["how"] for event in layers} == {"sent"}
    assert done.err == ""


def test_pull_list_show(public: Server, box: Home, empty: Home, folder: Path) -> None:
    reference = f"{public.host}/team/model"
    digest = box("push", "-q", f"{reference}:v1", cwd=folder).out.strip()
    other = empty
    assert other("list", reference).out.splitlines()[1].startswith(f"v1   {digest[7:19]}")
    (row,) = json.loads(other("list", "--json", reference).out)
    assert (row["tag"], row["digest"]) == ("v1", digest)
    assert row["cog_version"]
    shown = other("show", f"{reference}@{digest}").out
    for text in (digest, "python", "3.11", "text", "string", "code in /src", "oci:"):
        assert text in shown
    facts = json.loads(other("show", "--json", f"{reference}:v1").out)
    assert facts["digest"] == digest
    assert [one["name"] for one in facts["inputs"]] == ["text"]
    assert facts["layers"][-1]["holds"] == "code in /src"
    assert not empty.cache.exists()  # nothing was kept, let alone a layer
    assert other("pull", "-q", f"{reference}@{digest}").out.strip() == digest
    assert digest in other("image", "ls", "--json").out
    assert "it has none" in error(other("pull", f"{reference}:v2", ok=False), 10)


def test_show_what_is_no_model(
    public: Server, box: Home, tiny: Path, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    one_of(tiny, "amd64", tmp_path / "one")
    argv = [tool("skopeo"), "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{tmp_path / 'one'}"]
    subprocess.run([*argv, f"docker://{public.host}/tiny:v1"], check=True, capture_output=True)
    facts = json.loads(box("show", "--json", f"{public.host}/tiny:v1").out)
    assert (facts["inputs"], facts["cog_version"]) == ([], None)
    assert box("show", f"{public.host}/tiny:v1").out.startswith(f"{public.host}/tiny:v1")


def received(server: Server) -> str:
    return server.log.read_text()


def test_a_push_that_moves_no_bytes(public: Server, box: Home, empty: Home, locked_hello: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(locked_hello, tmp_path / "hello"))
    box("lock", cwd=project)  # with the digests of the layers
    reference = f"{public.host}/team/hello"
    first = box("push", "-q", "--locked", f"{reference}:v1", cwd=project).out
    beside = json.loads(box("plan", "--to", f"{reference}-beside", "--json", cwd=project).out)["transfers"]
    assert {one["upload"] for one in beside} == {0}  # the registry mounts them
    with (project / "run.py").open("a") as file:
        file.write("# changed\n")
    planned = empty("plan", "--to", reference, "--json", cwd=project)
    moves = json.loads(planned.out)["transfers"]
    assert [one["state"] for one in moves[:-1]] == [f"in {reference}"] * (len(moves) - 1)
    assert moves[-1]["state"] == "to make"
    assert sum(one["download"] for one in moves) == 0
    assert f"in {reference}" in empty("plan", "--to", reference, cwd=project).out
    done = empty("push", "--json", "--locked", f"{reference}:v2", cwd=project)
    events = [json.loads(line) for line in done.out.splitlines()]
    sent = [event for event in events if event.get("how") == "sent"]
    assert len(sent) == 2  # the code and the configuration
    assert sum(event["size"] for event in sent) < 100_000
    store = empty.cache / "cogsmith"
    assert list((store / "files" / "sha256").iterdir()) == []  # no wheel, no deb
    assert sum(path.stat().st_size for path in (store / "blobs" / "sha256").iterdir()) < 100_000
    second = events[-1]["digest"]
    assert second != first.strip()
    assert box("build", "-q", "--locked", cwd=project).out.strip() == second  # the very image a full build gives
    third = empty("push", "-q", "--locked", "--cache-repo", reference, f"{public.host}/other/hello:v1", cwd=project).out
    assert third.strip() == second


def test_who_is_not_let_in_hears_it_before_the_work(private: Server, empty: Home, folder: Path) -> None:
    refused = empty("push", "--locked", f"{private.host}/team/tiny:v1", cwd=folder, ok=False)
    assert f"hint: log in: `cogsmith login {private.host}`" in refused.err
    assert "made" not in refused.err


def test_layers_that_the_registry_lost_are_made(public: Server, box: Home, empty: Home, folder: Path) -> None:
    reference = f"{public.host}/team/model"
    digest = box("push", "-q", "--locked", f"{reference}:v1", cwd=folder).out
    assert empty("push", "-q", "--locked", f"{reference}:v2", cwd=folder).out == digest
    data = next(public.log.parent.glob("data/docker/registry/v2/repositories/team/model"))
    shutil.rmtree(data)
    assert empty("push", "-q", "--locked", f"{reference}:v3", cwd=folder).out == digest


@pytest.fixture
def r8(bearer: Server) -> Iterator[Replicate]:
    front = Replicate(bearer.host)
    yield front
    front.close()


def log_in(box: Home, host: str, *arguments: str, stdin: str = f"{TOKEN}\n", ok: bool = True) -> Done:
    return box("login", *arguments, env={"COG_REGISTRY_HOST": host}, stdin=stdin, ok=ok)


def test_login_to_replicate(r8: Replicate, box: Home, folder: Path) -> None:
    done = log_in(box, r8.host, "--token-stdin")
    assert f"You've successfully authenticated as {OWNER}! You can now use the {r8.host} registry." in done.err
    config = box.home / ".docker" / "config.json"
    assert list(json.loads(config.read_text())["auths"]) == [r8.host]
    assert config.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in done.err
    done = log_in(box, r8.host)  # pasted
    assert "https://replicate.example/auth/token" in done.err
    env = {"COG_REGISTRY_HOST": r8.host}
    pushed = box("push", f"{r8.host}/{OWNER}/hello", cwd=folder, env=env)
    assert pushed.out.startswith("sha256:")
    missing = error(box("push", f"{r8.host}/{OWNER}/nothing", cwd=folder, env=env, ok=False), 10)
    assert f"Unable to find existing Replicate model for {r8.host}/{OWNER}/nothing" in missing
    assert "create a new model" in missing
    assert "logged out" in box("logout", env=env).err
    assert "gave no token" in error(box("push", f"{r8.host}/{OWNER}/hello:v2", cwd=folder, env=env, ok=False), 10)


def test_login_refuses(r8: Replicate, box: Home, public: Server) -> None:
    text = error(log_in(box, r8.host, "--token-stdin", stdin="r8_abc\n", ok=False), 10)
    assert "that looks like a Replicate API token, not a CLI auth token" in text
    assert "user does not exist" in error(log_in(box, r8.host, "--token-stdin", stdin="wrong\n", ok=False), 10)
    assert "there is no token" in error(log_in(box, r8.host, "--token-stdin", stdin="", ok=False), 10)
    text = error(log_in(box, public.host, ok=False), 10)
    assert f"{public.host} is not the Replicate registry" in text
    assert not (box.home / ".docker").exists()


def test_login_elsewhere(private: Server, box: Home, folder: Path) -> None:
    text = error(box("push", f"{private.host}/x:v1", cwd=folder, ok=False), 10)
    assert f"cogsmith login {private.host}" in text
    wrong = box("login", "-u", USER, "--password-stdin", private.host, stdin="wrong", ok=False)
    assert "does not know that name and password" in error(wrong, 10)
    assert "there is no user name" in error(box("login", private.host, stdin="", ok=False), 10)
    done = box("login", private.host, stdin=f"{USER}\n{PASSWORD}\n")
    assert f"You are logged in to {private.host} as {USER}." in done.err
    assert box("push", f"{private.host}/x:v1", cwd=folder).out.startswith("sha256:")
    assert "logged out" in box("logout", private.host).err
    assert "were not logged in" in box("logout", private.host).err


def test_bundle(public: Server, box: Home, folder: Path) -> None:
    text = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(text + f'model: "{public.host}/team/model"\n')
    done = box("push", cwd=folder, env={"COG_MODEL_TAG": "v7"})
    index = done.out.strip()
    assert f"  model  {public.host}/team/model:v7@{index}" in done.err
    rows = {row["tag"]: row for row in json.loads(box("list", "--json", f"{public.host}/team/model").out)}
    assert set(rows) == {"v7", "cog-image.v7"}
    assert rows["v7"]["digest"] == index
    assert rows["v7"]["platforms"] == ["linux/amd64"]
    assert (
        rows["cog-image.v7"]["digest"]
        == json.loads(box("show", "--json", f"{public.host}/team/model:v7").out)["image_digest"]
    )
    assert (
        box("pull", "-q", "--platform", "linux/amd64", f"{public.host}/team/model:v7").out.strip()
        == rows["cog-image.v7"]["digest"]
    )
    refused = error(box("push", "x:v1", cwd=folder, ok=False), 3)
    assert "positional image argument not supported with 'model' config" in refused
    other = {"COG_MODEL": f"{public.host}/team/other"}
    for env in ({"COG_MODEL_TAG": "cog-x"}, {**other, "COG_MODEL_TAG": "cog-x"}):
        assert "reserved" in error(box("push", cwd=folder, env=env, ok=False), 3)
    stamped = box("push", cwd=folder, env=other).err
    assert f"Pushing to {public.host}/team/other:20" in stamped


def test_a_base_of_a_registry_is_not_downloaded(
    public: Server, private: Server, box: Home, empty: Home, tiny: Path, tmp_path: Path
) -> None:
    one_of(tiny, "amd64", tmp_path / "one")
    argv = ["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{PASSWORD}"]
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    subprocess.run([*argv, f"oci:{tmp_path / 'one'}", f"docker://{private.host}/base:v1"], check=True)
    box("login", "-u", USER, "--password-stdin", private.host, stdin=PASSWORD)
    folder = write_project(tmp_path / "based", base=f"{private.host}/base:v1")
    box("lock", "--no-layers", cwd=folder)
    digest = empty("build", "-q", "--locked", "-t", "based", cwd=folder).out.strip()
    manifest = json.loads((empty.cache / "cogsmith" / "blobs" / "sha256" / digest[7:]).read_text())
    base = empty.cache / "cogsmith" / "blobs" / "sha256" / manifest["layers"][0]["digest"][7:]
    assert not base.exists()  # nothing runs, so the lock's word for it is enough
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == f"{private.host}/base:v1"
    done = empty("push", "--image", "based", f"{public.host}/based:v1", "--json")
    layers = [json.loads(line) for line in done.out.splitlines()]
    assert [event["how"] for event in layers if event.get("digest", "").endswith(base.name)] == ["copied"]
    assert not base.exists()


def test_run_from_a_registry(
    public: Server, box: Home, empty: Home, locked_hello: Path, hello: str, containers: None
) -> None:
    reference = f"{public.host}/team/hello"
    assert box("push", "-q", "--locked", f"{reference}:v1", cwd=locked_hello).out.strip() == hello
    done = empty("run", f"{reference}@{hello}", "-i", "text=registry")
    assert "registry" in done.out


def test_limits_from_the_environment(public: Server, box: Home, folder: Path) -> None:
    env = {
        "COG_PUSH_CONCURRENCY": "1",
        "COG_PUSH_DEFAULT_CHUNK_SIZE": "500000",
        "COG_PUSH_MULTIPART_THRESHOLD": "500000",
    }
    box("push", f"{public.host}/x:v1", cwd=folder, env=env)
    assert received(public).count('"PATCH /v2/x/blobs/uploads/') > 2
    text = error(box("push", f"{public.host}/x:v1", cwd=folder, env={"COG_PUSH_CONCURRENCY": "many"}, ok=False), 3)
    assert "COG_PUSH_CONCURRENCY is `many`" in text
