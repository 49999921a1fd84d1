"""The Nix backend: the same bytes as the packer elsewhere, and what Nix makes of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from small_nix import Lines, Small, remove
from small_wheels import write_wheel

from builder.backends import assemble, nix, nix_seed, nix_tool
from builder.backends.nix_paths import flat_path
from builder.errors import BackendError, CogsmithError, LayerError, StoreError
from builder.plan import Plan, RunLayer, layer_key
from builder.report import Quiet
from builder.store import Store


@pytest.fixture
def locked(small: Small, tmp_path: Path) -> Plan:
    """The plan of the project, with the digests that the embedded backend gets."""
    plan = small.plan()
    with Store.open(tmp_path / "embedded") as store:
        made = small.embedded(plan, store)
        assemble.image(plan, layers=made, store=store, name="wanted")
    small.downloads.clear()
    return small.locked(plan, made)


def digest(plan: Plan, small: Small, store: Store) -> str:
    return assemble.image(plan, layers=small.nix(plan, store), store=store, name="image").digest


def test_same_image_with_and_without_a_lock(small: Small, locked: Plan, store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "embedded") as other:
        image = other.image("wanted")
        assert image is not None
        wanted = image.digest
        blobs = {layer.digest: other.blob_path(layer.digest).read_bytes() for layer in image.layers[1:]}
    plan = small.plan()
    assert plan.locked == ()
    with Store.open(tmp_path / "free") as free:
        assert digest(plan, small, free) == wanted
    assert digest(locked, small, store) == wanted
    for name, data in blobs.items():
        assert store.blob_path(name).read_bytes() == data
    # As a hard link: gigabytes are there once.
    assert all(store.blob_path(name).stat().st_nlink > 1 for name in blobs)


def test_paths_follow_from_digests_and_the_closure_is_the_layers(small: Small, locked: Plan, store: Store) -> None:
    path = small.path(locked, store)
    by_digest = {flat_path("layer", one.digest[7:]) for one in locked.locked}
    closure = set(small.query("--query", "--requisites", path))
    assert by_digest < closure
    code = closure - by_digest - {path}
    assert len(code) == 1
    assert small.query("--query", "--references", *code) == []
    layout = Path(f"{small.nix_store}{path}")
    links = list((layout / "blobs" / "sha256").iterdir())
    assert sorted(str(link.readlink())[:9] for link in links if link.is_symlink()) == ["../../../"] * 6
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    manifest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    layers = json.loads((layout / "blobs" / "sha256" / manifest[7:]).read_bytes())["layers"]
    assert [(layout / "blobs" / "sha256" / one["digest"][7:]).exists() for one in layers] == [False, *[True] * 6]


def test_every_part_is_made_again_alike(small: Small, locked: Plan, store: Store, tmp_path: Path) -> None:
    """`nix-build --check`: also layers that are fixed outputs, which Nix would otherwise never make again."""
    path = small.path(locked, store)
    (deriver,) = small.query("--query", "--deriver", path)
    layers = [drv for drv in small.query("--query", "--requisites", deriver) if drv.endswith("-layer.drv")]
    assert len(layers) == 6
    small.query("--realise", "--check", deriver, *layers)


def test_a_change_of_code_makes_two_paths_and_needs_no_input(small: Small, locked: Plan, store: Store) -> None:
    before = set(small.query("--query", "--requisites", small.path(locked, store)))
    small.downloads.clear()
    small.write("run.py", b"print('changed')\n")
    changed = small.plan(locked=locked.locked)
    after = set(small.query("--query", "--requisites", small.path(changed, store)))
    assert len(after - before) == 2
    assert small.downloads == []


def test_layers_that_are_here_are_given_and_not_made(small: Small, locked: Plan, tmp_path: Path) -> None:
    """By another backend, say; neither wheels nor packages are fetched for them."""
    fresh = tmp_path / "fresh"
    with Store.open(tmp_path / "embedded") as store:
        small.nix(locked, store, nix_store=str(fresh))
    assert not [name for name in small.downloads if name.endswith(".whl")]
    remove(fresh)


def test_to_a_binary_cache_and_back(small: Small, locked: Plan, store: Store, tmp_path: Path) -> None:
    path = small.path(locked, store)
    cache = f"file://{tmp_path / 'cache'}"
    tool = nix_tool.Tool(private=small.nix_store)
    copy = ["nix", "--extra-experimental-features", "nix-command", "copy"]
    subprocess.run([*copy, "--store", str(small.nix_store), "--to", cache, path], check=True, capture_output=True)
    assert len(list((tmp_path / "cache").glob("*.narinfo"))) == 7
    small.write("run.py", b"print('changed')\n")
    plan = small.plan(locked=locked.locked)
    changed = small.path(plan, store)
    subprocess.run([*copy, "--store", str(small.nix_store), "--to", cache, changed], check=True, capture_output=True)
    assert len(list((tmp_path / "cache").glob("*.narinfo"))) == 9
    assert tool.missing([path, changed]) == set()
    # Another machine: the cache is unsigned, and locked layers need no signature, for their bytes are known.
    small.downloads.clear()
    fresh = tmp_path / "fresh"
    with Store.open(tmp_path / "other") as other:
        small.nix(plan, other, nix_store=str(fresh), nix_cache=cache)
        assert all(other.has_blob(one.digest) for one in locked.locked)
    assert not [name for name in small.downloads if name.endswith(".whl")]
    back = ["--no-check-sigs", "--from", cache, "--store", str(fresh), changed]
    subprocess.run([*copy, *back], check=True, capture_output=True)
    assert small.query("--query", "--requisites", changed, nix_store=fresh)
    remove(fresh)


def test_a_layer_that_comes_from_a_command(small: Small, locked: Plan, store: Store, tmp_path: Path) -> None:
    command = RunLayer(command="echo hello > /hello", env=(), below=("x",), epoch=locked.epoch)
    plan = small.plan(command, locked=locked.locked)
    with pytest.raises(BackendError) as caught:
        small.nix(plan, store)
    assert "RUN echo hello > /hello" in str(caught.value)
    assert "--backend embedded" in str(caught.value.hint)
    assert "--cache-repo" in str(caught.value.hint)
    # Once another backend has made it, here or where this store was filled from, it is taken by its digest.
    with Store.open(tmp_path / "embedded") as other:
        weights = next(p for p in other.image("wanted").layers if p.size > 2**20)  # type: ignore[union-attr]
        packed = other.layer_by_diff_id(next(o.diff_id for o in locked.locked if o.digest == weights.digest))
        assert packed is not None
        store.adopt(other.blob_path(packed.digest), packed.digest)
    store.record_layer(layer_key(command, compression="gzip", codec=plan.codec), packed)
    assert small.nix(plan, store)[-2] == packed


def test_a_digest_that_the_packer_does_not_get(small: Small, locked: Plan, store: Store) -> None:
    wrong = tuple(
        type(one)(key=one.key, digest="sha256:" + "e" * 64, diff_id=one.diff_id, size=one.size) for one in locked.locked
    )
    with pytest.raises(LayerError) as caught:
        small.nix(small.plan(locked=(wrong[0], *locked.locked[1:])), store)
    right = locked.locked[0].digest
    assert caught.value.brief == (
        f"the layer `Debian bookworm, 1 packages` came out as {right}, but the lock says sha256:{'e' * 64}"
    )
    assert "cogsmith lock" in str(caught.value.hint)
    assert not store.has_blob("sha256:" + "e" * 64)


def test_a_wheel_that_is_another(small: Small, store: Store) -> None:
    wheel = write_wheel(small.folder / ".wheels", {"demo/new.py": b"of this test\n"})
    plan = small.plan()
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(BackendError, match="is not what was locked") as caught:
        small.nix(plan, store)
    assert "damaged or was replaced" in str(caught.value.hint)


def test_a_file_that_changes_under_the_build(small: Small, store: Store) -> None:
    plan, local = small.plan(), small.local()
    (small.folder / "run.py").write_bytes(b"print('later')\n")
    with pytest.raises(LayerError) as caught:
        nix.make(
            plan, store=store, local=local, fetch=small.fetch, threads=2, report=Quiet(), execution=small.execution()
        )
    assert "run.py" in str(caught.value)


def test_an_old_nix(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in nix_tool.PROGRAMS:
        (tmp_path / name).write_text("#!/bin/sh\necho 'nix-build (Nix) 2.3.16'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert nix.check(small.plan()) == [f"Nix 2.3 is too old: {nix_tool.GET}"]
    for name in ("Determinate Nix 3.1.0) 2.28.1", "Lix, like Nix) 2.91.1"):  # Nix, under other names
        (tmp_path / "nix-build").write_text(f"#!/bin/sh\necho 'nix-build ({name}'\n")
        assert nix.check(small.plan()) == []
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert [line.split(":")[0] for line in nix.check(small.plan())] == [
        "`nix-build` is not installed",
        "`nix-store` is not installed",
    ]


def test_a_store_that_is_full(small: Small, locked: Plan, store: Store, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("not root: no small file system can be mounted")
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        with pytest.raises(CogsmithError) as caught:
            small.nix(locked, store, nix_store=str(place))
        assert isinstance(caught.value, StoreError)
        assert caught.value.brief == f"no space left for the Nix store in `{place}`"
        assert not store.has_blob(locked.locked[0].digest)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_build_that_is_killed_leaves_nothing_half_done(small: Small, store: Store, tmp_path: Path) -> None:
    small.path(small.plan(), store)  # interpreter and codec are there
    small.write("weights.bin", os.urandom(64 << 20))
    plan = small.plan()
    pid = os.fork()
    if pid == 0:  # as a terminal's window that closes: the whole group goes
        os.setsid()
        with Store.open(tmp_path / "killed") as killed:
            small.nix(plan, killed)
        os._exit(0)
    time.sleep(0.8)
    os.killpg(pid, 9)
    os.waitpid(pid, 0)
    with Store.open(tmp_path / "killed") as again:
        made = small.nix(plan, again)
        with Store.open(tmp_path / "embedded2") as other:
            assert made[1:] == small.embedded(plan, other)[1:]


def test_without_namespaces_only_when_asked_and_aloud(
    small: Small, locked: Plan, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Lines()
    own = tmp_path / "own"
    made = small.nix(locked, store, report=report, nix_store=str(own), nix_sandbox="off")
    assert report.lines[0].startswith("not sandboxed: ")
    assert made[1:] == small.nix(locked, store)[1:]
    remove(own)


def test_an_ordinary_user_in_a_store_below_the_cache(
    small: Small, ordinary: Any, locked_hello: Path, store: Store, tmp_path: Path
) -> None:
    wanted = assemble.image(small.plan(), layers=small.embedded(small.plan(), store), store=store, name="x").digest
    project = ordinary.give(small.folder, "nix-project")
    files = tmp_path / "files"
    files.mkdir()
    for deb in nix_seed.debs_of(small.debian.debs, machine=os.uname().machine):
        shutil.copy(small.files / deb.sha256, files)
    files = ordinary.give(files, "nix-files")
    tests = ordinary.give(Path(__file__).parent, "nix-tests")
    lock = project.parent / "nix-files" / "lock"
    shutil.copy(locked_hello / "pylock.cog.toml", lock)
    lock.chmod(0o644)
    cache = ordinary.home / "nix-cache"
    done = ordinary.run(
        *(str(tests / "small_nix.py"), str(project), str(lock), str(files), str(cache)), cwd=ordinary.home
    )
    assert done.returncode == 0, done.stderr
    digest, _, path = done.stdout.split()
    assert digest == wanted
    assert path.startswith(f"{cache}/nix/store/nix/store/")
    remove(cache / "nix" / "store")


def test_an_image_for_another_machine(small: Small, store: Store, tmp_path: Path) -> None:
    """An image of arm64 is packed like any other, by an interpreter of this machine that somebody resolves."""
    plan = small.plan(platform="linux/arm64")
    layers = small.nix(plan, store)
    with Store.open(tmp_path / "embedded2") as other:
        assert layers[1:] == small.embedded(plan, other)[1:]
