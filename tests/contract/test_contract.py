"""One plan, one digest: every backend that is present, as root and as an ordinary user, makes the same image."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from executed.bases import Lines, plan_of, put_base

from builder import sandbox
from builder.backends import BACKENDS, DEFAULT, backend
from builder.layers.delta import RULES
from builder.store import Store

from .cases import SECRET, STEPS, Way, image, make

VARIANTS: dict[str, list[Mapping[str, str]]] = {
    "embedded": [{}],
    "buildah": [{}],
    "kaniko": [{"kaniko_executor": os.environ.get("COGSMITH_KANIKO_EXECUTOR", "")}],
    "nix": [],  # runs no command: what it makes is compared in tests/nix
}
"""Settings with which a backend is tried; `{}` for those that are not here."""
WAYS = [
    Way(backend=name, settings=settings, ordinary=ordinary)
    for name in BACKENDS
    for settings in VARIANTS.get(name, [{}])
    for ordinary in (False, True)
    if (name, ordinary) != (DEFAULT, False)
]
WAYS += [Way(backend="buildah", settings={"isolation": "chroot"}, ordinary=True)]


@pytest.fixture(scope="session")
def reference(tar: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the default backend makes, here."""
    folder = tmp_path_factory.mktemp("contract")
    problems = sandbox.check(scratch=folder / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    made = image(tar, folder / "store", way=Way(backend=DEFAULT))
    sandbox.remove_tree(folder / "store")
    return made


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_one_digest(way: Way, reference: dict[str, Any], tar: bytes, tmp_path: Path, request: Any) -> None:
    if way.ordinary:
        made = as_ordinary(way, tar=tar, user=request.getfixturevalue("ordinary"))
    else:
        made = image(tar, tmp_path / "store", way=way)
        sandbox.remove_tree(tmp_path / "store")
    if "absent" in made:
        pytest.skip(f"{way}: {made['absent']}")
    assert differences(made["layers"], reference["layers"]) == {}
    assert made["digest"] == reference["digest"]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What the members of each layer are here and there, where they differ: digests would say only that they do."""
    return {
        f"{layer}: {name}": (one[layer].get(name), other[layer].get(name))
        for layer in STEPS
        for name in one[layer].keys() | other[layer].keys()
        if one[layer].get(name) != other[layer].get(name)
    }


def as_ordinary(way: Way, *, tar: bytes, user: Any) -> dict[str, Any]:
    given = user.give(Path(__file__).parent, "contract-tests/contract")
    user.give(Path(__file__).parents[1] / "executed", "contract-tests/executed")
    (given.parent / "base.tar").write_bytes(tar)
    told = json.dumps({"backend": way.backend, "settings": dict(way.settings)})
    done = user.run(
        *("-m", "contract.cases", str(given.parent / "base.tar"), str(user.home / f"store-{way}"), told),
        cwd=given.parent,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


def test_the_cases_hold_what_they_are_for(reference: dict[str, Any]) -> None:
    """So that the comparison above compares something."""
    files, back, users, compiled, world = (reference["layers"][name] for name in STEPS)
    assert {"srv/.wh.kept", "srv/data", "etc/motd", "root", "usr/bin/yes", "new/pipe", "new/sparse"} <= files.keys()
    assert not {"usr/bin/env", "dev", "proc"} & files.keys()  # only a time, and places of mounts
    assert files["new/b"][6] == "new/a"
    assert {".wh.srv", "moved", "new/.wh.b", "new/sticky"} <= back.keys()
    assert {"etc/passwd", "home/sailor", "id"} <= users.keys()
    assert compiled["opt/bin/q"][7] == ["SCHILY.xattr.security.capability"]
    assert compiled["opt/bin/r"][6] == "opt/bin/q"
    assert {"env", "size", "net", "stdin"} <= world.keys()
    assert not [name for name in world if "pycache" in name or "secrets" in name]
    assert len(RULES) >= 16


def test_a_layer_by_one_backend_is_there_for_another(store: Store, tar: bytes) -> None:
    """The key is of what is executed, not of who does it.  And what Buildah keeps for itself holds no secret."""
    way = Way(backend="buildah")
    wanted = plan_of(put_base(store, tar), STEPS["users"], STEPS["world"])
    missing = backend("buildah").check(wanted)
    if missing:
        pytest.skip(missing[0])
    made = make(wanted, way=way, store=store)
    report = Lines()
    assert make(wanted, way=Way(backend=DEFAULT), store=store, report=report) == made
    assert report.lines == []
    files = [path for path in store.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("buildah" in path.parts for path in files)
    assert not [path for path in files if SECRET in path.read_bytes()]
