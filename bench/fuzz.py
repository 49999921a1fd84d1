"""More random inputs than the test suite has time for: `python bench/fuzz.py [TIMES]` (default 20).

Runs the property tests of `cog.yaml`, requirements, foreign locks and of model sources with so many times their cases;
each must be read, or refused in words, and never end in a traceback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run them, and say how long it took."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    tests = sorted((ROOT / "tests").glob("*/test_*fuzz.py"))
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", *map(str, tests)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "COGSMITH_FUZZ": str(times)}, check=False)
    print(f"{len(tests)} files, {times} times their cases, {time.monotonic() - began:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
