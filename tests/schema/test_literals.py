"""Values that a source states: what is computed without running it, and what is left alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from builder.schema.literals import known, unpacked
from builder.schema.source import Project
from builder.schema.values import UNKNOWN, plain

HEAD = """
import os, torch, other
from enum import Enum
from values import FAR, TABLE as FAR_TABLE, OTHER
import values
A = B = 3
C, (D, E) = 1, (2, 3)
NAMES = ["a", "b"]
NAMES += ["c"]
NAMES.append("d")
NAMES.extend(("e",))
TABLE: dict = {"x": 1}
TABLE["y"] = 2
TABLE.update({"z": torch.float16})
if torch.cuda.is_available():
    BATCH = 8
    ONLY_HERE = 1
else:
    BATCH = 1
LATER = 1
if os.name == "nt":
    LATER = 2
SETTLED = 1
try:
    SETTLED = 2
finally:
    pass
SETTLED = 3
LOOP = LOOP + 1
class Style(str, Enum):
    PHOTO = "photo"
    OIL = "oil"
    _hidden = "no"
class Options:
    SIZE = 64
    class Deep:
        SIZE = 128
class More(Options):
    pass
"""


def value(folder: Path, expression: str) -> Any:
    (folder / "values.py").write_text("FAR = 2 ** 10\nTABLE = {'k': FAR}\nif x:\n    OTHER = 1\nelse:\n    OTHER = 2\n")
    (folder / "run.py").write_text(HEAD)
    module = Project(folder).open("run.py")
    return known(ast.parse(expression, mode="eval").body, module=module)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("5 * 60", 300),
        ("2**31 - 1", 2**31 - 1),
        ("-(-1)", 1),
        ("+1.5", 1.5),
        ("7 // 2 + 7 % 4 + 1 / 2", 6.5),
        ("1 << 20", 2**20),
        ("0xFF & 0x0F | 16 ^ 1", 31),
        ("2 ** -1", 0.5),
        ("(1, 'a', None, True)", [1, "a", None, True]),
        ("'a' 'b' + 'c'", "abc"),
        ("'-' * 3", "---"),
        ("f'{A} of {NAMES[0]!s}'", "3 of a"),
        ("[A, C, D, E]", [3, 1, 2, 3]),
        ("NAMES", ["a", "b", "c", "d", "e"]),
        ("[*NAMES[:2], 'z']", ["a", "b", "z"]),
        ("list(TABLE)", ["x", "y", "z"]),
        ("TABLE.keys()", ["x", "y", "z"]),
        ("TABLE['y']", 2),
        ("list(TABLE)[-1]", "z"),
        ("next(iter(TABLE))", "x"),
        ("sorted({'b', 'a'})", ["a", "b"]),
        ("sorted([3, 1.5, 2])", [1.5, 2, 3]),
        ("list(range(0, 10, 5))", [0, 5]),
        ("[64 * n for n in range(1, 3)]", [64, 128]),
        ("[style.value for style in Style]", ["photo", "oil"]),
        ("[style.name for style in Style]", ["PHOTO", "OIL"]),
        ("Style.OIL.value", "oil"),
        ("', '.join(NAMES[:2])", "a, b"),
        ("len(NAMES)", 5),
        ("max(3, A)", 3),
        ("min([4, 2])", 2),
        ("str(A) + str(1.5)", "31.5"),
        ("int(2.9) + float(1)", 3.0),
        ("' a '.strip().upper()", "A"),
        ("not False", True),
        ("{'a': [1, {'b': 2.5}]}", {"a": [1, {"b": 2.5}]}),
        ("{**{'a': 1}, 'b': 2} | {'c': 3}", {"a": 1, "b": 2, "c": 3}),
        ("dict(TABLE, a=1)['a']", 1),
        ("FAR", 1024),
        ("values.FAR", 1024),
        ("FAR_TABLE['k']", 1024),
        ("More.SIZE", 64),
        ("Options.Deep.SIZE", 128),
        ("ONLY_HERE", 1),
        ("SETTLED", 3),
    ],
)
def test_what_the_source_tells(tmp_path: Path, expression: str, expected: Any) -> None:
    found = value(tmp_path, expression)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "expression",
    [
        "os.environ['A']",
        "os.environ.get('A', 1)",
        "nowhere",
        "torch.float16",
        "TABLE",  # one of its values is torch's
        "TABLE['z']",
        "TABLE['nope']",
        "NAMES[9]",
        "BATCH",  # depends on the machine
        "LATER",
        "OTHER",
        "LOOP",
        "1 if os else 2",
        "lambda: 1",
        "b'bytes'",
        "1j",
        "...",
        "1e999",
        "'\\ud800'",
        "1 / 0",
        "10**10**10",
        "2**64 * 2**64 * 2",
        "(-8) ** 0.5",
        "1.5 << 2",
        "-'a'",
        "'a' + 1",
        "True + 1",
        "{[1]: 2}",
        "sorted([1, 'a'])",
        "range(0, 5, 0)",
        "'%s' % 1",
        "[x for x in range(9) if x]",
        "[x for x in Options]",
        "f'{A:03}'",
        "float('inf')",
        "0x" + "f" * 40,
    ],
)
def test_what_it_does_not(tmp_path: Path, expression: str) -> None:
    assert value(tmp_path, expression) is UNKNOWN


HEADER = "from values import S as FAR_S\nS, D, N = ['a', 'b'], {'a': 1, 'b': 2}, 1\n"


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("S.insert(1, 'z')", "S"),
        ("S.insert(N, 'z')", "S"),
        ("S.remove('b')", "S"),
        ("S.clear()", "S"),
        ("last = S.pop()", "S"),
        ("last: str = S.pop()", "S"),
        ("if S.pop():\n    pass", "S"),
        ("for x in 'cd':\n    S.append(x)", "S"),
        ("if N:\n    for x in 'cd':\n        S.append(x)", "S"),
        ("[S.append(x) for x in 'cd']", "S"),
        ("with open('f') as f:\n    S.extend(f, 1)", "S"),
        ("for S in 'cd':\n    pass", "S"),
        ("S, *more = 'c', 'd', 'e'", "S"),
        ("S, D = other()", "S"),
        ("del S[0]", "S"),
        ("FAR_S.append('c')", "FAR_S"),
        ("FAR_S += ['c']", "FAR_S"),
        ("for x in 'cd':\n    FAR_S.append(x)", "FAR_S"),
        ("D.update(c=3)", "D"),
        ("D.setdefault('c', 3)", "D"),
        ("D.pop('b')", "D"),
        ("D['a'].append(1)", "D"),
        ("D['a']['b'] = 1", "D"),
        ('del D["b"]', "D"),
        ("D = {}\nfor k in 'ab':\n    D[k] = 1", "D"),
        ("match N:\n    case 1:\n        D['c'] = 3", "D"),
        ("while N < 5:\n    N += 1", "N"),
        ("print(N := 2)", "N"),
    ],
)
def test_what_is_changed_later(tmp_path: Path, lines: str, name: str) -> None:
    (tmp_path / "values.py").write_text("S = ['a']\n")
    (tmp_path / "run.py").write_text(f"{HEADER}{lines}\n")
    module = Project(tmp_path).open("run.py")
    assert known(ast.Name(id=name), module=module) is UNKNOWN


@pytest.mark.parametrize(
    ("lines", "name", "expected"),
    [
        ("S.insert(0, 'z')", "S", ["z", "a", "b"]),
        ("S.pop()\nS = ['n']\nS.append('m')", "S", ["n", "m"]),
        ("T = [N for N in (3, 4)]\n[N for N in T]\nfor x in T:\n    def f(): N = 2", "N", 1),
        ("class C:\n    for N in (1, 2):\n        pass", "N", 1),
        ("for s in S:\n    print(s, D.get(s), N)\nS.index('a')", "S", ["a", "b"]),
        ("FAR_S", "FAR_S", ["a"]),
        ("FAR_S.pop()\nFAR_S = ['n']", "FAR_S", ["n"]),
    ],
)
def test_what_is_not(tmp_path: Path, lines: str, name: str, expected: Any) -> None:
    (tmp_path / "values.py").write_text("S = ['a']\n")
    (tmp_path / "run.py").write_text(f"{HEADER}{lines}\n")
    module = Project(tmp_path).open("run.py")
    assert known(ast.Name(id=name), module=module) == expected


def test_json(tmp_path: Path) -> None:
    assert plain(value(tmp_path, "{2: 1.0, None: [2.0, 0.5], True: 1e22, 'a': -0.0}")) == {
        "2": 1,
        "null": [2, 0.5],
        "true": 1e22,
        "a": 0,
    }
    assert str(plain(10.0)) == "10"


def test_what_is_unpacked_may_be_known_in_part(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import torch\nOPTIONS = dict(a=1, b=torch.x)\n")
    module = Project(tmp_path).open("run.py")
    assert unpacked(ast.Name(id="OPTIONS"), module=module) == {"a": 1, "b": UNKNOWN}
    assert unpacked(ast.Name(id="torch"), module=module) is None
