"""A few seconds of what `bench/serve_load.py` does for a minute."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from runtime_image import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_nothing_is_lost_and_nothing_left_while_workers_are_killed() -> None:
    command = [sys.executable, ROOT / "bench/serve_load.py", "--seconds", "6", "--kill-every", "1.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert done.returncode == 0
    assert found["workers_killed"] > 2
    assert found["ends"]["succeeded"] > 20
    assert found["ends"]["failed"] > 2
    assert found["after"]["workers"] == 1
