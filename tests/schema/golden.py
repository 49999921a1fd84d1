"""Write the expected documents of `examples/` and of the corpus anew: `python tests/schema/golden.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from test_corpus import CORPUS, INDEX, own, read  # noqa: E402
from test_schema_examples import EXAMPLES, GOLDENS, example  # noqa: E402


def main() -> None:
    """Write all of them."""
    for name in INDEX:
        write(CORPUS / "expected" / f"{name}.json", own(read(name)))
    for name in EXAMPLES:
        write(GOLDENS / f"{name}.json", example(name))


def write(path: Path, value: object) -> None:
    """One file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
