"""What a push shows: a block of lines on a terminal, a line a layer elsewhere, events."""

from __future__ import annotations

import io
import json
import re

import pytest

from builder.cli import pushing
from builder.cli.console import Console
from builder.cli.pushing import PushProgress
from builder.registry.push import Moved


class Screen:
    """Just enough of a terminal to see what is left on it."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.row = 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif part == "\x1b[K":
                self.lines[self.row] = ""
            elif part == "\x1b[J":
                del self.lines[self.row :]
                self.lines.append("")
            elif part.endswith("A") and part.startswith("\x1b"):
                self.row -= int(part[2:-1])
            elif part != "\r":
                self.lines[self.row] += part


def blob(number: int, how: str = "sent", size: int = 1000) -> Moved:
    return Moved(digest=f"sha256:{number:064}", size=size, label=f"{number:012} layer {number}", how=how)  # type: ignore[arg-type]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws at every step."""
    monkeypatch.setattr(pushing, "REFRESH", 0.0)


@pytest.mark.usefixtures("eager")
def test_on_a_terminal() -> None:
    out = io.StringIO()
    progress = PushProgress(Console(out, progress="tty"), sizes={"a": 1000, "b": 3000}, as_json=False)
    progress.advance("000000000001 layer 1", 250, 1000)
    progress.advance("000000000002 layer 2", 1000, 3000)
    screen = Screen()
    screen.write(out.getvalue())
    shown = [line for line in screen.lines if line]
    assert len(shown) == 3
    assert " 25% [#####               ]" in shown[0]
    assert "layer 1" in shown[0]
    assert "layer 2" in shown[1]
    assert "1 kB of     4 kB" in shown[2]
    assert "/s" in shown[2]
    progress.note("a word between")
    progress.moved(blob(1))
    progress.close()
    screen = Screen()
    screen.write(out.getvalue())
    assert [line for line in screen.lines if line] == ["a word between", "pushed        000000000001 layer 1 (1 kB)"]


@pytest.mark.usefixtures("eager")
def test_elsewhere() -> None:
    out = io.StringIO()
    progress = PushProgress(Console(out), sizes={"a": 1000, "b": 1000}, as_json=False)
    progress.advance("000000000001 layer 1", 250, 1000)
    progress.moved(blob(1, "mounted"))
    progress.moved(blob(2, "present"))
    progress.close()
    assert out.getvalue() == ("mounted       000000000001 layer 1 (1 kB)\nalready there 000000000002 layer 2 (1 kB)\n")


def test_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "EVERY", 0.0)
    out = io.StringIO()
    progress = PushProgress(Console(out), sizes={"a": 1000}, as_json=False)
    progress.advance("000000000001 layer 1", 250, 1000)
    assert " 25% [" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_events(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pushing, "EVERY", 0.0)
    progress = PushProgress(Console(io.StringIO(), quiet=True), sizes={"a": 1000}, as_json=True)
    progress.advance("000000000001 layer 1", 250, 1000)
    progress.moved(blob(1))
    progress.close({"name": "x", "digest": "sha256:1"})
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events == [
        {"event": "progress", "bytes": 250, "total": 1000},
        {"event": "layer", "digest": blob(1).digest, "size": 1000, "how": "sent", "title": "layer 1"},
        {"event": "pushed", "name": "x", "digest": "sha256:1"},
    ]
