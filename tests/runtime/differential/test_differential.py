"""The same models and the same requests, asked of Cog's own server and of ours; the answers compared field by field.

What differs is in `differences.py`, with its reason.  A difference that is not there is an error, and so is one that is
there and no longer to be seen.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import pytest
from cases import CASES, Case
from differences import DIFFERENCES, EXTRA, RACES, VOLATILE
from two_servers import Pairs

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(sys.version_info < (3, 10), reason="Cog's server needs Python 3.10"),
]

STATES = ("starting", "processing", "succeeded", "failed", "canceled")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|\+00:00)\Z")


def parameters() -> list[Any]:
    return [
        pytest.param(case, id=case.id, marks=pytest.mark.xdist_group(f"differential-{case.model}")) for case in CASES
    ]


@pytest.mark.parametrize("case", parameters())
def test_answers_are_the_same(case: Case, pairs: Pairs) -> None:
    upstream, ours = pairs.of(case.model)
    theirs, mine = (case.ask(side.rested()) for side in (upstream, ours))
    found = dict(differences(plain(theirs, ours=False), plain(mine, ours=True), ()))
    expected = DIFFERENCES.get(case.id, {})
    for path, (before, now) in found.items():
        if path not in expected or "COGSMITH_SHOW_DIFFERENCES" in os.environ:
            print(f"{path}\n    Cog:  {str(before)[:300]}\n    ours: {str(now)[:300]}")
    assert set(found) - set(RACES.get(case.id, {})) == set(expected), f"{theirs}\n{mine}"


def test_every_difference_is_of_a_case() -> None:
    assert set(DIFFERENCES) | set(RACES) <= {case.id for case in CASES}
    assert len({case.id for case in CASES}) == len(CASES) >= 60
    assert all(reason for table in (EXTRA, *RACES.values(), *DIFFERENCES.values()) for reason in table.values())


def test_a_difference_is_seen() -> None:
    same = {"status": 200, "body": {"id": "x", "status": "succeeded", "logs": "", "metrics": {"predict_time": 1.0}}}
    extra = {"created_at": "2026-01-01T00:00:00Z", "started_at": "2026-01-01T00:00:00Z", "version": "v"}
    ours = {
        "status": 200,
        "body": {"id": "x", "status": "succeeded", "logs": "", "metrics": {"predict_time": 2.0}, **extra},
    }
    assert dict(differences(plain(same, ours=False), plain(ours, ours=True), ())) == {}
    for path, change in (
        ("body.output", {"output": 1}),
        ("body.error", {"error": "e"}),
        ("body.status", {"status": "failed"}),
    ):
        changed = {**ours, "body": {**ours["body"], **change}}
        assert set(dict(differences(plain(same, ours=False), plain(changed, ours=True), ()))) == {path}
    without = {**ours, "body": {name: value for name, value in ours["body"].items() if name != "created_at"}}
    assert "body.created_at" in dict(differences(plain(same, ours=False), plain(without, ours=True), ()))


def plain(value: Any, *, ours: bool) -> Any:
    """An answer without what differs from one run to the next, and without what ours has more in every prediction."""
    if isinstance(value, list):
        return [plain(item, ours=ours) for item in value]
    if isinstance(value, str):
        return "<time>" if TIME.match(value) else "<id>" if re.match(r"pred_[0-9a-f]+\Z", value) else value
    if not isinstance(value, dict):
        return value
    fields = {name: "<volatile>" if name in VOLATILE else plain(item, ours=ours) for name, item in value.items()}
    if value.get("status") in STATES and "id" in value and "logs" in value:  # not the short one of an event
        _take_extra(fields, ours=ours)
    return fields


def _take_extra(fields: dict[str, Any], *, ours: bool) -> None:
    always = {"created_at", "version"}
    for name in EXTRA:
        if name in fields and ours:
            del fields[name]
        elif ours and name in always:
            fields[name] = "<missing: ours always has it>"


def differences(theirs: Any, ours: Any, path: tuple[str, ...]) -> Any:
    """Where the two differ, with both values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in {**theirs, **ours}:
            yield from differences(theirs.get(name, "<absent>"), ours.get(name, "<absent>"), (*path, name))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, (*path, str(index)))
    elif theirs != ours or type(theirs) is not type(ours):
        yield ".".join(path), (theirs, ours)
