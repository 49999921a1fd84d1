"""What becomes of an output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest

from builder.engine.outputs import Delivery, deliver, deliver_training, write
from builder.errors import PredictionError

URI = {"type": "string", "format": "uri"}
PNG = "data:image/png;base64,iVBO"


def schema(output: dict[str, Any]) -> dict[str, Any]:
    return {"components": {"schemas": {"Output": output}}}


def text(output: Any, kind: dict[str, Any], folder: Path) -> str:
    found = deliver(output, schema=schema(kind), path=None, folder=folder)
    assert found.files == ()
    assert list(folder.iterdir()) == []
    return found.text


def files(output: Any, kind: dict[str, Any], folder: Path, path: str | None = None) -> list[str]:
    found = deliver(output, schema=schema(kind), path=Path(path) if path else None, folder=folder)
    assert found.text == ""
    return [str(file.relative_to(folder)) for file in found.files]


@pytest.mark.parametrize(
    ("output", "kind", "expected"),
    [
        ("two\nlines", {"type": "string"}, "two\nlines\n"),
        ("data:text/plain,x", {"type": "string"}, "data:text/plain,x\n"),
        (5, {"type": "integer"}, "5\n"),
        (0.1, {"type": "number"}, "0.1\n"),
        (True, {"type": "boolean"}, "true\n"),
        (["a", "ü"], {"type": "array", "items": {"type": "string"}}, '[\n  "a",\n  "ü"\n]\n'),
        ({"a": {"b": []}}, {"type": "object"}, '{\n  "a": {\n    "b": []\n  }\n}\n'),
        ([], {"type": "array", "items": URI}, "[]\n"),
    ],
)
def test_text(output: Any, kind: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert text(output, kind, tmp_path) == expected


def test_nothing(tmp_path: Path) -> None:
    assert deliver(None, schema=None, path=None, folder=tmp_path).warning == "No output generated"


@pytest.mark.parametrize(
    ("url", "path", "name", "content"),
    [
        (PNG, None, "output.png", b"\x89PN"),
        ("data:image/jpeg;base64,AAAA", None, "output.jpg", bytes(3)),
        ("data:text/plain;charset=utf-8;base64,aGk=", None, "output.txt", b"hi"),
        ("data:,a%20b", None, "output", b"a b"),
        ("data:application/octet-stream;base64,AP8=", None, "output", b"\0\xff"),
        ("data:application/x-no-such-type;base64,AP8=", None, "output", b"\0\xff"),
        (PNG, "mine.jpeg", "mine.jpeg", b"\x89PN"),
        (PNG, "mine", "mine.png", b"\x89PN"),
        (PNG, "out.0", "out.0.png", b"\x89PN"),
        (PNG, "folder", "folder/output.png", b"\x89PN"),
    ],
)
def test_files(url: str, path: str | None, name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert files(url, URI, tmp_path, path) == [name]
    assert (tmp_path / name).read_bytes() == content


def test_several_files(tmp_path: Path) -> None:
    kind = {"type": "array", "items": URI}
    assert files([PNG, "data:text/plain,x"], kind, tmp_path) == ["output.0.png", "output.1.txt"]
    assert files([PNG, PNG], kind, tmp_path, "a.png") == ["a.0.png", "a.1.png"]
    assert files([PNG], kind, tmp_path, "b.7") == ["b.7.0.png"]


def test_text_to_a_file(tmp_path: Path) -> None:
    assert files([1], {"type": "array", "items": {"type": "integer"}}, tmp_path, "x.json") == ["x.json"]
    assert (tmp_path / "x.json").read_text() == "[\n  1\n]\n"


def test_a_pipe_as_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert files("hi", {"type": "string"}, tmp_path, "pipe") == ["pipe"]
        assert os.read(reader, 10) == b"hi\n"
    finally:
        os.close(reader)


@pytest.mark.parametrize("output", ["hi", "data:text/plain;base64,aGkK"])
def test_a_link_is_written_through(tmp_path: Path, output: str) -> None:
    """Such as /dev/stdout where that is a file: to replace it would take it from the whole machine."""
    (tmp_path / "link").symlink_to("file")
    for _ in range(2):  # first it leads nowhere
        kind = {"type": "string"} if output == "hi" else URI
        assert files(output, kind, tmp_path, "link") == ["link"]
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == b"hi\n"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    with pytest.raises(PredictionError, match='Default output name "output" conflicts with directory'):
        deliver(PNG, schema=schema(URI), path=None, folder=tmp_path)
    with pytest.raises(PredictionError, match="Output path is not writable"):
        deliver(PNG, schema=schema(URI), path=Path("no/such/folder/x"), folder=tmp_path)
    for name in ("A" * 300, "~no-such-user/x"):
        with pytest.raises(PredictionError, match=f"Output path is not writable: {name}"):
            deliver(PNG, schema=schema(URI), path=Path(name), folder=tmp_path)
        with pytest.raises(PredictionError, match="Output path is not writable"):
            write(tmp_path / name, b"")
    for url in ("http://example.com/x.png", "file:///etc/passwd", "data:nothing", "data:;base64,!!"):
        with pytest.raises(PredictionError, match="data URL"):
            deliver(url, schema=schema(URI), path=Path("x"), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


class TestTraining:
    """The files among the fields of a training's output are written, too."""

    FILE: ClassVar = {"type": "string", "format": "uri"}
    DATA = "data:text/plain;base64,aGk="

    def deliver(self, output: Any, folder: Path, **fields: Any) -> Delivery:
        schema = {"components": {"schemas": {"Output": {"type": "object", "properties": fields}}}}
        return deliver_training(output, schema=schema, path=Path("weights"), folder=folder)

    def test_one(self, tmp_path: Path) -> None:
        made = self.deliver({"weights": self.DATA, "loss": 0.5}, tmp_path, weights=self.FILE, loss={"type": "number"})
        assert made == Delivery(text='{\n  "loss": 0.5\n}\n', files=(tmp_path / "weights.txt",))
        assert (tmp_path / "weights.txt").read_text() == "hi"

    def test_several(self, tmp_path: Path) -> None:
        made = self.deliver({"a": self.DATA, "b": self.DATA}, tmp_path, a=self.FILE, b=self.FILE)
        assert made == Delivery(files=(tmp_path / "weights-a.txt", tmp_path / "weights-b.txt"))

    def test_none(self, tmp_path: Path) -> None:
        made = self.deliver({"loss": 1}, tmp_path, loss={"type": "number"})
        assert made == Delivery(files=(tmp_path / "weights",))
        assert self.deliver(None, tmp_path).warning == "No output generated"
