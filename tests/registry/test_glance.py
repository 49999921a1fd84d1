"""A large base is looked at, not fetched: what a glance finds is what reading all of it finds, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_images import add_image, add_layer, tar_of
from spec_registry import SpecRegistry
from test_base import LIBC, LOCAL, OFFICIAL_PATH, image_of

from builder.oci import PackedLayer
from builder.plan import Interpreter
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.push import push_image
from builder.registry.sources import File, Readable
from builder.report import Quiet
from builder.resolve import base
from builder.resolve.contents import Contents, contents_of, glance
from builder.store import Store

SYSTEM: dict[str, bytes | None] = {"usr/lib/x86_64-linux-gnu/libc.so.6": LIBC}
PATCHLEVEL = "usr/local/include/python3.13/patchlevel.h"
FOUND = Contents(
    interpreters=(Interpreter(path="/usr/local/bin/python3.13", version="3.13.5"),), glibc="2.36", musl=False
)
ENV = (("PATH", OFFICIAL_PATH), ("PYTHON_VERSION", "3.13.5"))
Files = dict[str, bytes | None]


def both(
    store: Store,
    *files: Files,
    python: str | None = "3.13",
    env: tuple[tuple[str, str], ...] = ENV,
    links: Files | None = None,
) -> tuple[Contents | None, Contents, int]:
    """What a glance says, what reading all says, and how many layers the glance opened."""
    image = image_of(store, *files, links=links, env=env)  # type: ignore[arg-type]
    opened = []

    def open_layer(layer: PackedLayer) -> Readable:
        opened.append(layer)
        return File(store.blob_path(layer.digest), start=0)

    seen = glance(image.layers, env=env, python_version=python, open_layer=open_layer)
    return seen, contents_of(image.layers, env=env, store=store, report=Quiet()), len(opened)


@pytest.mark.parametrize("python", ["3.13", "3.13.5"])
def test_what_is_found_from_the_top(source: Store, python: str) -> None:
    middle: Files = {"usr/share/large": bytes(1000)}
    assert both(source, SYSTEM, middle, LOCAL, {"etc/top": b""}, python=python) == (FOUND, FOUND, 3)


def test_the_version_of_an_official_image(source: Store) -> None:
    bare: Files = {"usr/local/bin/python3.13": b"\x7fELF"}
    assert both(source, SYSTEM, bare) == (FOUND, FOUND, 2)
    assert both(source, SYSTEM, bare, env=ENV[:1])[0] is None


def test_an_upper_layer_wins(source: Store) -> None:
    newer: Files = {**LOCAL, PATCHLEVEL: b'#define PY_VERSION "3.13.7"\n'}
    seen, whole, _ = both(source, SYSTEM, LOCAL, newer)
    assert seen == whole
    assert whole.interpreters[0].version == "3.13.7"


@pytest.mark.parametrize(
    "upper",
    [
        {"usr/local/bin/.wh.python3.13": b""},
        {"usr/local/.wh.bin": b""},
        {"usr/.wh..wh..opq": b""},
        {".wh..wh..opq": b""},
        {"usr/local": b"a file"},
        {"usr/local/bin/python3.12": b"\x7fELF"},
    ],
)
def test_what_only_the_whole_can_tell(source: Store, upper: Files) -> None:
    assert both(source, SYSTEM, LOCAL, upper)[0] is None


def test_what_is_not_looked_for(source: Store) -> None:
    assert both(source, SYSTEM, LOCAL, python=None)[0] is None
    assert both(source, SYSTEM, LOCAL, python="3.13.4")[0] is None
    assert both(source, SYSTEM, LOCAL, env=(("PATH", "/usr/bin:/usr/local/bin"),))[0] is None
    assert both(source, SYSTEM, LOCAL, env=(("PATH", "/usr/local/sbin:/usr/local/bin"),))[2] == 0
    assert both(source, {"lib/ld-musl-x86_64.so.1": b""}, LOCAL)[0] is None
    links: Files = {"usr/local/bin/python3.13": "/opt/python3.13"}  # type: ignore[dict-item]
    assert both(source, SYSTEM, links=links)[0] is None


def test_layers_that_tell_nothing_stay_where_they_are(
    spec: SpecRegistry, source: Store, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [add_layer(source, tar_of(files)) for files in (SYSTEM, {"usr/share/large": os.urandom(9999)}, LOCAL)]
    image = add_image(source, "base", layers, env=ENV)
    env = {"HOME": str(home)}
    push_image(image, to=parse(f"{spec.host}/base:v1"), store=source, access=Access(env=env), report=Quiet())
    monkeypatch.setattr(base, "GLANCE_FROM", 1)
    spec.asked.clear()
    for _ in range(2):
        found, interpreter = base.resolve_image_base(
            f"{spec.host}/base:v1",
            project=home,
            python_version="3.13",
            platform="linux/amd64",
            store=store,
            env=env,
            report=Quiet(),
        )
        assert (interpreter, found.glibc) == (FOUND.interpreters[0], "2.36")
    asked = [line for line in spec.asked if line.startswith("GET") and "/blobs/" in line]
    assert [line.rpartition("/")[2] for line in asked] == [
        image.manifest["config"]["digest"],
        layers[2].digest,
        layers[0].digest,
    ]
    assert not any(store.has_blob(layer.digest) for layer in layers)
