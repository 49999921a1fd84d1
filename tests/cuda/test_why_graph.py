"""Chains of requirements: markers, extras, circles, and what nobody asks for."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from builder.lock import Built, DebianBase, Lock
from builder.plan import Deb, Interpreter, Wheel
from builder.report import Quiet
from builder.resolve.graph import environment
from builder.resolve.metadata import Metadata
from builder.resolve.requirements import read
from builder.resolve.why import Root, chains, deb_edges, deb_size, python_edges, roots, source_roots
from builder.store import Store

HERE = environment(python_version="3.11.2", platform="linux/amd64")


def known(**requires: tuple[str, ...]) -> dict[str, Metadata]:
    return {name: Metadata(name=name, version="1", requires=lines) for name, lines in requires.items()}


def test_what_lines_ask_for() -> None:
    lines = ["--extra-index-url https://x", "Torch==2.3.1+cu121", "httpx[http2,CLI] >= 0.1; python_version > '3'"]
    wheel = "file:///p/My_Wheel-1.0-py3-none-any.whl"
    more = ["https://me@e/Y-1-py3-none-any.whl#sha256=00 ; python_version > '3'", "", "== nonsense"]
    assert roots([*lines, wheel, "x @ https://e/x-1-py3-none-any.whl", *more]) == (
        Root(name="torch"),
        Root(name="httpx", extras=("cli", "http2")),
        Root(name="my-wheel"),
        Root(name="x"),
        Root(name="y"),
    )


def test_what_sources_ask_for(tmp_path: Path) -> None:
    def built(name: str, url: str) -> tuple[Wheel, Built]:
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        wheel = Wheel(name=name, version="1", filename=f"{name}-1-py3-none-any.whl", size=1, sha256=sha256)
        return wheel, Built(sha256=sha256, key="", source="archive", url=url)

    made = [built("one", "vendor/one.zip"), built("two", "https://e/two"), built("three", "https://e/3.zip")]
    lock = Lock(
        config_hash="",
        platform="linux/amd64",
        interpreter=Interpreter(path="", version="3.11.2"),
        base=DebianBase(suite="bookworm", architecture="amd64", debs=()),
        wheels=tuple(wheel for wheel, _ in made),
        runtime_version="",
        runtime_wheels=(),
        built=tuple(item for _, item in made),
    )
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/one.zip").touch()
    text = "vendor/one.zip\ngit+https://me:pw@e/two@v1\nhttps://me:pw@e/3.zip\nF_f[a] @ git+https://e/f.git\n"
    sources = read(text, project=tmp_path, report=Quiet()).sources
    assert source_roots(sources, lock=lock, project=tmp_path) == (
        Root(name="one"),
        Root(name="two"),
        Root(name="three"),
        Root(name="f-f", extras=("a",)),
    )


def test_markers_and_extras_of_the_image() -> None:
    packages = known(
        a=("b; python_version < '3.9'", "c; platform_machine == 'x86_64'", "d; extra == 'more'", "absent"),
        b=(),
        c=("E_e[full]",),
        d=(),
        **{"e-e": ("f; extra == 'full'", "g; extra == 'other'")},
        f=(),
        g=(),
    )
    asked = [Root(name="a")]
    assert python_edges(packages, asked=asked, variables=HERE) == {"a": ("c",), "c": ("e-e",), "e-e": ("f",)}
    more = python_edges(packages, asked=[Root(name="a", extras=("more",))], variables=HERE)
    assert more["a"] == ("c", "d")


def test_an_extra_that_is_asked_for_later_counts() -> None:
    packages = known(a=("b", "c"), b=("d; extra == 'x'",), c=("b[x]",), d=())
    assert python_edges(packages, asked=[Root(name="a")], variables=HERE)["b"] == ("d",)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("a", [("a",)]),
        ("c", [("a", "c"), ("a", "b", "c")]),
        ("b", [("b",), ("a", "b")]),
        ("d", [("a", "c", "d"), ("lone", "d")]),
        ("lone", []),
    ],
)
def test_chains(target: str, found: list[tuple[str, ...]]) -> None:
    edges = {"a": ("b", "c"), "b": ("c", "a"), "c": ("d", "c"), "lone": ("d",)}
    assert sorted(chains(target, asked={"a", "b"} if target == "b" else {"a"}, edges=edges)) == sorted(found)


def control(folder: Path, name: str, fields: str) -> Deb:
    """A package file with this control information and no content."""
    text = f"Package: {name}\nVersion: 1\nArchitecture: amd64\n{fields}".encode()
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        info = tarfile.TarInfo("./control")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(inner.getvalue()), "data.tar": empty.getvalue()}
    data = b"!<arch>\n"
    for part, content in parts.items():
        head = f"{part:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        data += head.encode() + content + b"\n" * (len(content) % 2)
    path = folder / f"{name}.deb"
    path.write_bytes(data)
    return Deb(package=name, version="1", architecture="amd64", filename=path.name, size=len(data), sha256="")


def test_what_debs_say(tmp_path: Path) -> None:
    fields = {
        "ffmpeg": "Installed-Size: 12\nDepends: libav (>= 1) | libav-extra, libc6:any\nRecommends: fonts\n",
        "libav": "Pre-Depends: libc6\n",
        "libc6": "",
        "fonts": "",
    }
    with Store.open(tmp_path / "store") as store:
        debs = []
        for name, text in fields.items():
            deb = control(tmp_path, name, text)
            data = (tmp_path / deb.filename).read_bytes()
            if name != "fonts":  # this one is not here
                store.add_file(tmp_path / deb.filename)
            debs.append(dataclasses.replace(deb, sha256=hashlib.sha256(data).hexdigest()))
        edges = deb_edges(debs, store=store)
        assert edges == {"ffmpeg": ("fonts", "libav", "libc6"), "libav": ("libc6",), "libc6": (), "fonts": ()}
        assert [deb_size(deb, store=store) for deb in debs] == [12 * 1024, None, None, None]
    assert chains("libc6", asked={"ffmpeg"}, edges=edges) == (("ffmpeg", "libc6"), ("ffmpeg", "libav", "libc6"))
