"""Inputs to arguments, outputs to JSON, messages to frames: the worker's conversions, without a process."""

# ruff: noqa: UP006, UP007, UP035, UP045  # older models write their types the old way

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import http.server
import io
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, List, Optional, Union

import cog
import pytest
from cog.worker import protocol
from cog.worker.inputs import InputError, Signature
from cog.worker.outputs import Outputs, file_clock
from cog.worker.plain import OutputError


def arguments(function: Any, given: dict[str, Any], folder: Path, files: Any = ()) -> dict[str, Any]:
    return Signature(function).arguments(given, files=list(files)).fetch(str(folder))


def test_defaults(tmp_path: Path) -> None:
    def run(
        *, a: int, b: str = "b", c: int = cog.Input(default=3), d: Optional[str], e: str | None = cog.Input()
    ) -> None: ...

    assert arguments(run, {"a": 1}, tmp_path) == {"a": 1, "b": "b", "c": 3, "d": None, "e": None}
    with pytest.raises(InputError, match="a: Field required"):
        arguments(run, {}, tmp_path)


def test_only_annotated_parameters_are_converted(tmp_path: Path) -> None:
    def run(
        text: str, secret: cog.Secret, file: cog.Path, old: cog.File, many: List[cog.Path], maybe: Optional[cog.Path],
        noted: Annotated[cog.Path, "x"], plain: Path, whole: int, real: float, flag: bool, either: Union[str, float],
    ) -> None: ...  # fmt: skip

    url = "data:text/plain;base64,aGk="
    given: dict[str, Any] = {
        "text": url, "secret": "s", "file": url, "old": url, "many": [url, "/etc/hosts"], "maybe": None, "noted": url,
        "plain": url, "whole": 5.0, "real": 5, "flag": True, "either": url,
    }  # fmt: skip
    made = arguments(run, given, tmp_path)
    assert made["text"] == made["either"] == url
    assert made["secret"].get_secret_value() == "s"
    for path in (made["file"], made["noted"], made["plain"], made["many"][0]):
        assert isinstance(path, cog.Path)
        assert path.read_text() == "hi"
        assert path.parent == tmp_path
        assert path.suffix == ".txt"
    assert made["old"].read() == b"hi"
    assert made["many"][1] == cog.Path("/etc/hosts")
    assert made["maybe"] is None
    assert (type(made["whole"]), type(made["real"])) == (int, float)
    assert made["flag"] is True


def test_a_list_of_nothing_in_particular(tmp_path: Path) -> None:
    def run(bare: List, maybe: Optional[List]) -> None: ...

    assert arguments(run, {"bare": [1, "a"], "maybe": [[2]]}, tmp_path) == {"bare": [1, "a"], "maybe": [[2]]}


def test_large_numbers_pass_exactly(tmp_path: Path) -> None:
    def run(a: int, b: float) -> None: ...

    assert arguments(run, {"a": 2**70, "b": 0.1}, tmp_path) == {"a": 2**70, "b": 0.1}


def test_a_file_that_the_server_already_wrote(tmp_path: Path) -> None:
    def run(image: cog.Path, more: list[cog.Path]) -> None: ...

    taken = protocol.FileAt(["image"], "/x/a.png", "a.png", ""), protocol.FileAt(["more", 1], "/x/b", "b", "")
    files = [vars(file) for file in taken]
    made = arguments(run, {"image": None, "more": ["/x/c", None]}, tmp_path, files)
    assert made == {"image": cog.Path("/x/a.png"), "more": [cog.Path("/x/c"), cog.Path("/x/b")]}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_urls_are_fetched(tmp_path: Path, web: str) -> None:
    def run(file: cog.Path, many: list[cog.Path], lazy: cog.File) -> None: ...

    for index in range(9):
        (tmp_path / f"{index}.txt").write_text(str(index))
    (tmp_path / "in").mkdir()
    given = {"file": f"{web}/0.txt", "many": [f"{web}/{index}.txt" for index in range(9)], "lazy": f"{web}/7.txt"}
    made = arguments(run, given, tmp_path / "in")
    assert made["file"].read_text() == "0"
    assert [path.read_text() for path in made["many"]] == list("012345678")
    assert made["lazy"].read() == b"7"
    with pytest.raises(InputError, match=r"could not fetch http://.*/absent: HTTP Error 404"):
        arguments(run, {**given, "file": f"{web}/absent"}, tmp_path / "in")
    with pytest.raises(InputError, match="file: malformed data URL"):
        arguments(run, {**given, "file": "data:x"}, tmp_path / "in")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Answer(cog.BaseModel):
    text: str
    colour: Colour


class Pydantic2:
    def model_dump(self) -> dict[str, Any]:
        return {"v": 2, "when": dt.date(2025, 1, 1)}


class Pydantic1:
    __fields__ = ("v",)

    def dict(self) -> dict[str, Any]:
        return {"v": 1}


def outputs(folder: Path) -> Outputs:
    return Outputs(str(folder), since=file_clock())


def final(run: Outputs, value: Any) -> tuple[Any, list[dict[str, Any]]]:
    return run.take(run.prepare(value, last=True))


def item(run: Outputs, value: Any) -> tuple[Any, list[dict[str, Any]]]:
    return run.take(run.prepare(value, last=False))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None), (True, True), (2**70, 2**70), (0.1, 0.1), ("é", "é"), ([1, (2,)], [1, [2]]), ({3}, [3]),
        ({"a": {1: Colour.RED}}, {"a": {"1": "red"}}), (Point(1, 2.5), {"x": 1, "y": 2.5}),
        (Answer(text="t", colour=Colour.RED), {"text": "t", "colour": "red"}),
        ({None: 1, True: 2, False: 3}, {"null": 1, "true": 2, "false": 3}),
        (Pydantic2(), {"v": 2, "when": "2025-01-01"}), (Pydantic1(), {"v": 1}),
        (dt.datetime(2025, 1, 1, tzinfo=dt.UTC), "2025-01-01T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_values(tmp_path: Path, value: Any, plain: Any) -> None:
    assert final(outputs(tmp_path), value) == (plain, [])


def test_a_generator_within_is_a_list(tmp_path: Path) -> None:
    value = [(letter for letter in "ab"), {"a": (Colour.RED for _ in range(2))}]
    assert final(outputs(tmp_path), value) == ([["a", "b"], {"a": ["red", "red"]}], [])


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"a": [object()]}, "output a/0 of type object cannot be sent as JSON"),
        (b"x", "output of type bytes cannot be sent as JSON"),
        ([float("nan")], "output 0 is nan, which JSON cannot express"),
        ({(1,): 2}, "output has a key of type tuple"),
        ([Path("/nowhere/at/all")], "output file does not exist: /nowhere/at/all"),
        (cog.Secret("x"), "output is a Secret, which is never sent"),
    ],
)
def test_values_that_cannot_be_sent(tmp_path: Path, value: Any, error: str) -> None:
    with pytest.raises(OutputError) as caught:
        final(outputs(tmp_path), value)
    assert str(caught.value) == error


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    given = {
        "scalars": [numpy.float32(0.5), numpy.float64(0.1), numpy.int8(3), numpy.bool_(True)],
        "array": numpy.eye(2),
    }
    plain, files = final(outputs(Path()), given)
    assert plain == {"scalars": [0.5, 0.1, 3, True], "array": [[1.0, 0.0], [0.0, 1.0]]}
    assert [type(value) for value in plain["scalars"]] == [float, float, int, bool]
    assert files == []
    for bad in (numpy.float32("nan"), numpy.array([1.0, numpy.inf])):
        with pytest.raises(OutputError, match="which JSON cannot express"):
            final(outputs(Path()), bad)


def test_pydantic(tmp_path: Path) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):
        colour: Colour
        file: Path

    class Outer(pydantic.BaseModel):
        inner: list[Inner]
        when: dt.datetime

    (tmp_path / "a.txt").write_text("a")
    made = Outer(inner=[Inner(colour="red", file=tmp_path / "a.txt")], when=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
    plain, files = final(outputs(tmp_path / "exchange"), made)
    assert plain == {"inner": [{"colour": "red", "file": None}], "when": "2025-01-01T00:00:00+00:00"}
    assert [file["at"] for file in files] == [["inner", 0, "file"]]


def test_a_coder_of_the_model_s_own() -> None:
    class Money:
        cents = 5

    class MoneyCoder(cog.Coder):
        @staticmethod
        def factory(wanted: type) -> cog.Coder | None:
            return MoneyCoder() if wanted is Money else None

        def encode(self, value: Money) -> dict[str, Any]:
            return {"cents": value.cents}

    assert cog.Coder.register(MoneyCoder) is MoneyCoder
    assert final(outputs(Path()), [Money()]) == ([{"cents": 5}], [])


def test_a_temporary_file_of_the_prediction_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = outputs(tmp_path / "exchange")
    made = tmp_path / "made.png"
    made.write_bytes(b"png")
    plain, files = final(run, {"a": [made, made]})
    assert plain == {"a": [None, None]}
    assert [(file["at"], file["name"], file["type"]) for file in files] == [
        (["a", 0], "made.png", "image/png"),
        (["a", 1], "made.png", "image/png"),
    ]
    assert Path(files[0]["path"]).read_bytes() == Path(files[1]["path"]).read_bytes() == b"png"
    assert not made.exists()


def test_files_that_were_there_before_or_lie_elsewhere_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    before = tmp_path / "tmp/before"
    before.write_text("b")
    os.utime(before, (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr("cog.worker.outputs.file_clock", lambda: 0)
        run = Outputs(str(tmp_path / "exchange"), since=file_clock() + 5)
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "tmp/link"
    elsewhere.write_text("e")
    link.symlink_to(before)
    _, files = final(run, [before, elsewhere, link])
    assert [Path(file["path"]).read_text() for file in files] == ["b", "e", "b"]
    assert before.exists()
    assert elsewhere.exists()
    assert link.exists()


def test_a_yielded_file_keeps_its_content_and_goes_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = outputs(tmp_path / "exchange")
    path = tmp_path / "frame.txt"
    kept = []
    for index in range(3):
        path.write_text(str(index))
        kept.append(item(run, path)[1][0]["path"])
    assert path.exists()
    run.tidy()
    assert not path.exists()
    assert [Path(one).read_text() for one in kept] == ["0", "1", "2"]


def test_open_files_and_streams(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    stream = io.BytesIO()
    stream.write(b"written, not rewound")
    with (tmp_path / "a.json").open() as file:
        _, files = final(outputs(tmp_path / "exchange"), [stream, io.StringIO("é"), file])
    assert [(one["name"], one["type"], Path(one["path"]).read_bytes()) for one in files] == [
        ("0.bin", "application/octet-stream", b"written, not rewound"),
        ("0.txt", "text/plain", "é".encode()),
        ("a.json", "application/json", b"{}"),
    ]


@pytest.mark.parametrize("size", [1, protocol.SPILL * 3])
def test_messages_pass_whole(tmp_path: Path, size: int) -> None:
    message = protocol.Predict("1", {"text": "é\ud800" * size}, "/f", [], {"a": "b"})
    frame = protocol.encode(message, folder=str(tmp_path))
    (length,) = protocol.HEADER.unpack(frame[:4])
    assert length == len(frame) - 4 <= protocol.SPILL
    assert protocol.decode(frame[4:]) == message
    assert list(tmp_path.iterdir()) == [], "a frame that went by file leaves none"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"5", b'["Nothing"]', b'["Cancel"]', b'["Cancel",1,2]', b"\xff", b"[" * 99999]
)
def test_what_is_not_a_message(body: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(body)
