"""What a server says of itself: numbers for Prometheus, records of the log, the trace of a request."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cog.server.console import PARTIAL_MAX, Console, Records
from cog.server.telemetry import BUCKETS, CONTENT_TYPE
from runtime_image import serving

SOURCE = """
    import os, sys
    from cog import BaseRunner, current_scope
    class Runner(BaseRunner):
        def setup(self) -> None:
            print("setting up")
        def run(self, how: str = "fine") -> str:
            print("out: \\u00e9")
            print("no end", end="", file=sys.stderr)
            os.system("echo from a child")
            if how == "fails":
                raise ValueError("boom")
            if how == "dies":
                os._exit(3)
            if how == "trace":
                try:
                    from opentelemetry import trace
                except ImportError:
                    return "none"
                context = trace.get_current_span().get_span_context()
                return f"{context.trace_id:032x} {context.span_id:016x} {current_scope().context['traceparent']}"
            return "done"
"""
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def numbers(text: str) -> dict[str, float]:
    """The samples of an exposition; its form is checked."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z_]+="[^"]*",?)+\})? (\S+)', line)
            assert match, line
            family = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in kinds or kinds[family] == "histogram", line
            assert line not in found
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_numbers_are_those_of_what_happened(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE) as server:

        def now() -> dict[str, float]:
            answer = server.get("/metrics")
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            return numbers(answer.text)

        first = now()
        assert first['cog_predictions_total{status="succeeded"}'] == 0
        assert first['cog_status{status="READY"}'] == 1
        assert first["cog_slots"] == 1
        assert 0 < first["cog_setup_seconds"] < 60
        for how in ("fine", "fine", "fails", "dies"):
            server.predict(how=how)
        server.wait("READY")
        last = now()
        states = {
            state: last[f'cog_predictions_total{{status="{state}"}}'] for state in ("succeeded", "failed", "canceled")
        }
        assert states == {"succeeded": 2, "failed": 2, "canceled": 0}
        assert last["cog_prediction_seconds_count"] == 4
        assert last['cog_prediction_seconds_bucket{le="+Inf"}'] == 4
        counts = [last[f'cog_prediction_seconds_bucket{{le="{bound}"}}'] for bound in BUCKETS]
        assert counts == sorted(counts)
        assert last["cog_prediction_seconds_sum"] > 0
        assert last["cog_predictions_running"] == 0
        assert last["cog_worker_lost_total"] == last["cog_worker_restarts_total"] == 1
        assert last["process_resident_memory_bytes"] > 1 << 20
        assert last["process_open_fds"] > 3
        assert server.end() == 0


def test_the_log_is_records(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE, LOG_FORMAT="json", COG_SETUP_TIMEOUT="5m") as server:
        identity = server.predict(how="fine")["id"]
        server.predict(how="dies")
        server.wait("READY")
        assert server.end() == 0
        records = [json.loads(line) for line in server.output().splitlines()]
    for record in records:
        assert set(record) == {"timestamp", "level", "fields", "target"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["timestamp"])
    told = [(record["level"], record["target"], record["fields"]) for record in records]
    assert ("INFO", "cog::user", {"message": "setting up", "source": "stdout"}) in told
    for source, text in (("stdout", "out: é"), ("stderr", "no end"), ("stdout", "from a child")):
        assert ("INFO", "cog::prediction", {"message": text, "source": source, "prediction_id": identity}) in told
    assert any(level == "WARN" and "COG_SETUP_TIMEOUT is '5m'" in fields["message"] for level, _, fields in told)
    assert any(level == "WARN" and "exit code 3" in fields["message"] for level, _, fields in told)


def test_levels_are_kept_to_in_records(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(level="warning", form="json")
    console.say("not this")
    console.say('a "warning"\n', level="warning")
    console.pass_on("stdout", "a line\nand a half")
    console.close()
    out, err = capfd.readouterr()
    assert out == ""
    records = [json.loads(line) for line in err.splitlines()]
    assert [record["fields"]["message"] for record in records] == ['a "warning"\n', "a line", "and a half"]


def test_lines_are_put_together_and_apart() -> None:
    records = Records()

    def lines(*item: Any) -> list[tuple[str, str]]:
        made = [json.loads(line) for line in records.of(*item).splitlines()]
        return [(record["timestamp"][17:19], record["fields"]["message"]) for record in made]

    assert lines(1.0, "stdout", "a", "one\ntw") == [("01", "one")]
    assert lines(2.0, "stdout", "b", "other\n") == [("02", "other")]
    assert lines(3.0, "stdout", "a", "o\n\n") == [("01", "two"), ("03", "")]
    assert lines(4.0, "stderr", "a", "unfinished") == []
    assert lines(5.0, "", "a", "") == [("04", "unfinished")]
    assert lines(6.0, "stdout", None, "x" * (PARTIAL_MAX + 1)) == [("06", "x" * (PARTIAL_MAX + 1))]
    assert lines(7.0, "stdout", "a", "10%\r20%\r\n") == [("07", "10%\r20%")]
    assert records.rest() == ""


def test_the_models_spans_belong_to_the_callers_trace(tmp_path: Path) -> None:
    try:
        files = importlib.metadata.files("opentelemetry-api") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("opentelemetry-api is not installed")
    here = tmp_path / "packages"
    here.mkdir()
    home = Path(str(files[0].locate())).parents[len(files[0].parts) - 1]
    for name in {file.parts[0] for file in files} | {"typing_extensions.py"}:
        if (home / name).exists():
            (here / name).symlink_to(home / name)
    (tmp_path / "image").mkdir()
    with serving(tmp_path / "image", SOURCE, PYTHONPATH=str(here)) as server:
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b"}
        answer = server.post("/predictions", json={"input": {"how": "trace"}}, headers=headers).json()
        assert answer["output"] == f"{TRACE} {SPAN} {headers['traceparent']}", answer
        plain = server.post("/predictions", json={"input": {"how": "trace"}}).json()
        assert plain["error"] == "Prediction failed: KeyError: 'traceparent'", "the last one's trace is over"
        assert server.end() == 0


def test_a_trace_needs_no_opentelemetry(tmp_path: Path) -> None:
    with serving(tmp_path, SOURCE) as server:
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        answer = server.post("/predictions", json={"input": {"how": "trace"}}, headers=headers).json()
        assert answer["output"] == "none", answer
        assert server.end() == 0
