"""How long the schema of a model takes: a source of 2,000 lines, the import of the code, and many random sources.

    python bench/schema.py [--lines 2000] [--runs 20] [--fuzz 20000] [--seed 0]

Prints medians of the time of the core, which other work on the machine disturbs least.  The bar is 100 ms for 2,000
lines; two thirds of what it takes is `ast.parse`.  `--fuzz` reads that many random sources and stops at the first one
that gives a traceback, a document that is not valid, or an answer only after a second.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "schema")]

from builder.errors import SchemaError  # noqa: E402
from builder.schema import document  # noqa: E402
from builder.schema.written import validate  # noqa: E402

IMPORT = """
import ast, dataclasses, pathlib, re, time, typing
import builder.config, builder.errors
begin = time.process_time()
from builder import schema
from builder.schema import openapi
print(time.process_time() - begin)
"""


def model_source(lines: int) -> str:
    """A model of at least that many lines, as they are: helpers and comments, classes, and inputs of all kinds."""
    head = [
        "import os, torch",
        "from typing import List, Optional, Union",
        "from cog import BaseModel, BasePredictor, Input, Path, Secret",
        "SCHEDULERS = {'DDIM': torch.a, 'PNDM': torch.b}",
    ]
    head += [f"CONSTANT_{index} = {index} * 60" for index in range(50)]
    for index in range(20):
        head += [
            f"class Part{index}(BaseModel):",
            "    name: str",
            "    score: Optional[float]",
            "    files: List[Path]",
        ]
    inputs = []
    for index in range(40):
        inputs += [
            f"        number_{index}: int = Input(",
            f'            description="The number, {index} "',
            '            "of many",',
            f"            default=CONSTANT_{index}, ge=0, le=2**31,",
            "        ),",
            f"        kind_{index}: str = Input(choices=list(SCHEDULERS.keys()), default='DDIM'),",
            f"        file_{index}: Optional[Path] = Input(default=None, accept='image/*'),",
        ]
    fields = [f"    part{index}: Part{index}" for index in range(20)]
    tail = ["class Output(BaseModel):", *fields, "class Predictor(BasePredictor):", "    def predict(", "        self,"]
    tail += [*inputs, "    ) -> List[Output]:", "        ..."]
    body: list[str] = []
    while len(head) + len(body) + len(tail) < lines:
        index = len(body)
        body += [
            f"def helper_{index}(image, *, size=64, mode='fast'):",
            '    """What a model does all day."""',
            "    # pixels",
            "    values = [pixel * 2 + 1 for pixel in image if pixel is not None]",
            "    if len(values) > size and mode in ('fast', 'slow'):",
            "        values = {index: value for index, value in enumerate(values)}",
            "    return values, f'{size} of {mode!r}'",
            "",
        ]
    return "\n".join([*head, *body, *tail]) + "\n"


def time_reading(lines: int, *, runs: int) -> float:
    """Seconds of the core for one document, the median."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "predict.py").write_text(model_source(lines))
        times = []
        for _ in range(runs):
            begin = time.process_time()
            document(Path(folder), run="predict.py:Predictor", train=None, version="1")
            times.append(time.process_time() - begin)
    return statistics.median(times)


def time_import(*, runs: int) -> float:
    """Seconds of the core for importing the code, from bytecode, in a process that has what each command has."""
    with tempfile.TemporaryDirectory() as cache:
        env = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": cache}
        command = [sys.executable, "-c", IMPORT]
        outputs = [subprocess.run(command, env=env, check=True, capture_output=True).stdout for _ in range(runs + 1)]
    return statistics.median(float(output) for output in outputs[1:])


def fuzz(count: int, *, seed: int) -> None:
    """Read `count` random sources."""
    from sources import Author

    made = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.py")
        for number in range(seed, seed + count):
            source = Author(random.Random(number).randrange).model()
            path.write_bytes(source.encode("utf-8", errors="surrogatepass"))
            begin = time.perf_counter()
            try:
                found = document(Path(folder), run="run.py:Runner", train=None, version="1")
            except SchemaError:
                continue
            except Exception:
                print(f"seed {number}:\n{source}")
                raise
            finally:
                if time.perf_counter() - begin > 1:
                    print(f"seed {number} took {time.perf_counter() - begin:.1f} s:\n{source}")
                    raise SystemExit(1)
            made += 1
            validate(found)
            json.dumps(found, allow_nan=False)
    print(f"{count} random sources: {made} documents, {count - made} refusals, no traceback")


def main() -> None:
    """Measure, and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lines", type=int, default=2000)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--fuzz", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    print(f"{given.lines} lines: {time_reading(given.lines, runs=given.runs) * 1000:.1f} ms")
    print(f"import: {time_import(runs=given.runs) * 1000:.1f} ms")
    if given.fuzz:
        fuzz(given.fuzz, seed=given.seed)


if __name__ == "__main__":
    main()
