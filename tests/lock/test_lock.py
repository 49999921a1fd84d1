"""`pylock.cog.toml` and back, exactly; what other tools make of it; what is wrong with a bad one."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import uv
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.pylock import Pylock

from builder.errors import LockError
from builder.lock import DebianBase, ImageBase, Lock, dumps, loads
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Deb, Interpreter, Remote, Wheel


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wheel(name: str, version: str = "1.0", size: int = 10) -> Wheel:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Wheel(name=name, version=version, filename=filename, size=size, sha256=sha(filename))


def remote(item: Wheel | Deb, *urls: str) -> Remote:
    return Remote(sha256=item.sha256, size=item.size, name=item.filename.rpartition("/")[2], urls=urls)


DEB = Deb(
    package="libc6",
    version="2.36-9+deb12u10",
    architecture="amd64",
    filename="pool/main/g/glibc/libc6_2.36-9+deb12u10_amd64.deb",
    size=2758232,
    sha256=sha("libc6"),
)
LAYER = PackedLayer(digest="sha256:" + sha("d"), diff_id="sha256:" + sha("i"), size=5, media_type="application/x")
LOCK = Lock(
    config_hash=sha("config"),
    platform="linux/amd64",
    interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
    base=DebianBase(suite="bookworm", architecture="amd64", debs=(DEB,)),
    wheels=(wheel("numpy", "2.4.6"), wheel("torch", "2.13.0+cpu")),
    runtime_version="0.1.0",
    runtime_build="b" * 64,
    runtime_wheels=(wheel("fastapi"), wheel("numpy", "2.4.6")),
    layers=((sha("key"), LAYER),),
    remotes=tuple(
        sorted(
            (
                remote(wheel("numpy", "2.4.6"), "https://a.invalid/numpy.whl"),
                remote(wheel("torch", "2.13.0+cpu"), "file:///opt/torch.whl", "https://b.invalid/t.whl"),
                remote(wheel("fastapi"), "https://a.invalid/fastapi.whl"),
                remote(DEB, "https://mirror.invalid/" + DEB.filename, "http://second.invalid/" + DEB.filename),
            ),
            key=lambda found: (found.name, found.sha256),
        )
    ),
)
IMAGE = ImageBase(
    reference="localhost:5000/base:1",
    digest="sha256:" + sha("manifest"),
    media_type="application/vnd.oci.image.manifest.v1+json",
    size=1234,
    layers=(BaseLayer(digest="sha256:" + sha("l"), diff_id="sha256:" + sha("u"), size=7, media_type="x", reason="r"),),
    env=(("PATH", "/bin"), ("A", 'x=y "quoted" \\ \n é')),
    labels=(("l", ""),),
    entrypoint=("/sbin/tini", "--"),
    glibc="2.36",
)


def test_round_trip() -> None:
    assert loads(dumps(LOCK)) == LOCK
    with_image = dataclasses.replace(LOCK, base=IMAGE, remotes=LOCK.remotes[:1])
    assert loads(dumps(with_image)) == with_image


def test_the_text_is_a_function_of_the_value() -> None:
    text = dumps(LOCK)
    assert dumps(loads(text)) == text
    assert dumps(dataclasses.replace(LOCK)) == text


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAMES = st.from_regex(r"\A[a-z][a-z0-9]{0,6}\Z")
VERSIONS = st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,3}){0,2}(\+[a-z0-9]{1,4})?\Z")
HASHES = st.binary(min_size=1, max_size=2).map(lambda data: hashlib.sha256(data).hexdigest())
SIZES = st.integers(min_value=0, max_value=2**53)
WHEELS = st.builds(
    lambda name, version, size, sha256: Wheel(
        name=name, version=version, filename=f"{name}-{version}-py3-none-any.whl", size=size, sha256=sha256
    ),
    NAMES,
    VERSIONS,
    SIZES,
    HASHES,
)
DEBS = st.builds(
    Deb,
    package=NAMES,
    version=TEXTS.filter(lambda text: "/" not in text),
    architecture=st.just("all"),
    filename=TEXTS,
    size=SIZES,
    sha256=HASHES,
)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple)
LAYERS = st.builds(PackedLayer, digest=TEXTS, diff_id=TEXTS, size=SIZES, media_type=TEXTS)
BASES = st.one_of(
    st.builds(
        DebianBase,
        suite=TEXTS,
        architecture=TEXTS,
        debs=st.lists(DEBS, max_size=2).map(tuple),
        executed=st.booleans(),
        reason=TEXTS,
    ),
    st.builds(
        ImageBase,
        reference=TEXTS,
        digest=TEXTS,
        media_type=TEXTS,
        size=SIZES,
        layers=st.lists(
            st.builds(BaseLayer, digest=TEXTS, diff_id=TEXTS, size=SIZES, media_type=TEXTS, reason=TEXTS), max_size=2
        ).map(tuple),
        env=PAIRS,
        labels=PAIRS,
        entrypoint=st.lists(TEXTS, max_size=2).map(tuple),
        cmd=st.lists(TEXTS, max_size=2).map(tuple),
        working_dir=TEXTS,
        user=TEXTS,
        glibc=TEXTS,
    ),
)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    wheels = draw(st.lists(WHEELS, max_size=3, unique_by=lambda item: item.name))
    runtime = draw(st.lists(WHEELS, max_size=2))
    base = draw(BASES)
    files = [*wheels, *runtime, *(base.debs if isinstance(base, DebianBase) else ())]
    # One content has one size and one name: the same wheel may be the model's and the server's, and no other.
    known = {(item.sha256, item.filename, item.size) for item in files}
    assume(len({sha256 for sha256, _, _ in known}) == len(known))
    urls = st.lists(st.from_regex(r"\Ahttps://[a-z]{1,5}\.invalid/[a-z%+]{0,9}\Z"), max_size=2).map(tuple)
    remotes = {item.sha256: remote(item, *draw(urls)) for item in files if draw(st.booleans())}
    strays = draw(st.lists(st.builds(Remote, sha256=HASHES, size=SIZES, name=TEXTS, urls=urls), max_size=2))
    remotes |= {stray.sha256: stray for stray in strays if stray.sha256 not in {item.sha256 for item in files}}
    return Lock(
        config_hash=draw(TEXTS),
        platform=draw(st.sampled_from(["linux/amd64", "linux/arm64"])),
        interpreter=Interpreter(path=draw(TEXTS), version=draw(st.sampled_from(["3.11.2", "3.13.5"]))),
        base=base,
        wheels=tuple(wheels),
        runtime_version=draw(TEXTS),
        runtime_build=draw(st.sampled_from(["", sha("build")])),
        runtime_wheels=tuple(runtime),
        layers=tuple(draw(st.lists(st.tuples(TEXTS, LAYERS), max_size=2))),
        remotes=tuple(sorted(remotes.values(), key=lambda found: (found.name, found.sha256))),
    )


@given(locks())
@settings(max_examples=60, deadline=None)
def test_any_lock_comes_back(lock: Lock) -> None:
    text = dumps(lock)
    assert loads(text) == lock
    Pylock.from_dict(tomllib.loads(text)).validate()


def test_a_local_file_is_named_relative_to_the_lock(tmp_path: Path) -> None:
    here, there = tmp_path / "here (1)", tmp_path / "there"
    local = wheel("mine")
    uri = (here / "wheels" / local.filename).as_uri()
    lock = dataclasses.replace(LOCK, wheels=(local,), runtime_wheels=(), remotes=(remote(local, uri),))
    text = dumps(lock, folder=here)
    assert tomllib.loads(text)["packages"][0]["wheels"][0]["path"] == f"wheels/{local.filename}"
    assert loads(text, folder=here) == lock
    moved = loads(text, folder=there)
    assert moved.remotes[0].urls == ((there / "wheels" / local.filename).as_uri(),)


def test_it_says_which_python_and_machine_it_is_for() -> None:
    document = Pylock.from_dict(tomllib.loads(dumps(LOCK)))
    assert str(document.requires_python) == "==3.11.*"
    fits = {
        "python_version": "3.11",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    assert document.environments
    marker = document.environments[0]
    assert marker.evaluate(fits)
    for key, other in (("python_version", "3.12"), ("sys_platform", "darwin"), ("platform_machine", "aarch64")):
        assert not marker.evaluate({**fits, key: other})


def small_wheel(folder: Path) -> Wheel:
    path = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "answer = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "tiny.py,,\n")
    data = path.read_bytes()
    return Wheel(
        name="tiny", version="1.0", filename=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


def test_uv_installs_from_it(tmp_path: Path) -> None:
    mine = small_wheel(tmp_path)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    lock = dataclasses.replace(
        LOCK,
        interpreter=Interpreter(path="/usr/bin/python3", version=f"{version}.1"),
        wheels=(mine,),
        remotes=(remote(mine, (tmp_path / mine.filename).as_uri()),),
    )
    (tmp_path / "pylock.cog.toml").write_text(dumps(lock, folder=tmp_path))
    program = uv.find_uv_bin()
    subprocess.run([program, "venv", "-q", "--no-project", "-p", sys.executable, "venv"], cwd=tmp_path, check=True)
    subprocess.run(
        [program, "pip", "sync", "-q", "--offline", "--python", "venv/bin/python", "pylock.cog.toml"],
        cwd=tmp_path,
        check=True,
    )
    shown = subprocess.run(
        ["venv/bin/python", "-c", "import tiny; print(tiny.answer)"], cwd=tmp_path, capture_output=True
    )
    assert shown.stdout == b"42\n"


def changed(**values: Any) -> str:
    """The text of LOCK with values replaced by their dotted path (`.` is `__`, `-` is `_`)."""
    document = tomllib.loads(dumps(LOCK))
    for dotted, value in values.items():
        *path, last = [part.replace("_", "-") for part in dotted.split("__")]
        place: Any = document
        for part in path:
            place = place[int(part)] if part.isdigit() else place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return tomli_w.dumps(document)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"lock_version": "2.0"}, "version"),
        ({"packages__0__name": "Not A Name"}, "packages[0].name"),
        ({"packages__0__wheels__0__hashes": {}}, "packages[0].wheels[0]"),
        ({"packages__0__wheels__0__hashes": {"sha256": "short"}}, "numpy"),
        ({"packages__0__wheels__0__hashes": {"md5": "0" * 32}}, "packages[0].wheels[0].sha256"),
        ({"packages__0__wheels__0__size": None}, "packages[0].wheels[0].size"),
        ({"tool__cogsmith": None}, "tool.cogsmith"),
        ({"tool__cogsmith__platform": None}, "tool.cogsmith.platform"),
        ({"tool__cogsmith__platform": 3}, "tool.cogsmith.platform"),
        ({"tool__cogsmith__base__kind": "alpine"}, "tool.cogsmith.base.kind"),
        ({"tool__cogsmith__base__debs__0__size": True}, "tool.cogsmith.base.debs[0].size"),
        ({"tool__cogsmith__base__debs__0__colour": "red"}, "tool.cogsmith.base.debs[0].colour"),
        ({"tool__cogsmith__base__debs__0__urls": "x"}, "tool.cogsmith.base.debs[0].urls"),
        ({"tool__cogsmith__base__debs__0__package": "../../../tmp/x"}, "its name is a path"),
        ({"tool__cogsmith__base__debs__0__version": "1/../../x"}, "its name is a path"),
        ({"tool__cogsmith__runtime__wheels__0__filename": "../../x.whl"}, "its name is a path"),
        ({"tool__cogsmith__interpreter": []}, "tool.cogsmith.interpreter"),
        ({"tool__cogsmith__layers__0__diff_id": None}, "tool.cogsmith.layers[0].diff-id"),
        ({"tool__cogsmith__runtime": None}, "tool.cogsmith.runtime"),
        ({"tool__cogsmith__platform": "linux/arm64"}, "environments: is not for"),
        ({"tool__cogsmith__interpreter__version": "3.13.5"}, "environments: is not for"),
        ({"requires_python": "==3.12.*"}, "requires-python: does not say"),
        (
            {"packages__0__wheels__0__name": "numpy-2.4.6-cp311-cp311-manylinux_2_28_aarch64.whl"},
            "is not for linux/amd",
        ),
        ({"tool__cogsmith__base__debs__0__architecture": "arm64"}, "is not for linux/amd64"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], where: str) -> None:
    with pytest.raises(LockError) as caught:
        loads(changed(**values))
    assert where in str(caught.value)
    assert "cogsmith lock" in (caught.value.hint or "")


def test_a_package_is_there_once() -> None:
    with pytest.raises(LockError) as caught:
        loads(dumps(dataclasses.replace(LOCK, wheels=LOCK.wheels[:1] * 2)))
    assert caught.value.details == "packages.numpy: is there twice"


@pytest.mark.parametrize("text", ["{", "", "a = 1\n", "\x00"])
def test_not_a_lock(text: str) -> None:
    with pytest.raises(LockError):
        loads(text)


def test_another_format() -> None:
    with pytest.raises(LockError, match="format 7"):
        loads(changed(tool__cogsmith__format=7))
