"""Python sources drawn at random: models of all shapes, and models with something broken in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

NAMES = ["x", "y", "prompt", "X", "Alias", "Out", "Runner", "Inputs", "Input", "str", "größe", "_p", "self", "Path"]
TYPES = [
    "str",
    "int",
    "float",
    "bool",
    "Path",
    "cog.Path",
    "File",
    "Secret",
    "Any",
    "dict",
    "list",
    "None",
    "Out",
    "TD",
]
TYPES += ["TD"]
TYPES += ["Alias", "Unknown", "torch.Tensor", "Color", "'str'", "'list[int]'", "'['", "...", "3", "X", "a.b.c", "'Out'"]
GENERICS = [
    "list",
    "List",
    "Optional",
    "Union",
    "dict",
    "Dict",
    "Annotated",
    "Iterator",
    "ConcatenateIterator",
    "tuple",
]
GENERICS += ["tuple", "Literal", "t.List", "ClassVar", "NewType", "Required", "Alias", "Out", "AsyncIterator"]
ATOMS = ["None", "True", "0", "-1", "10**10**10", "2**31", "1e999", "1.5", "''", "'a'", "'\\ud800'", "b'x'", "f'{X}'"]
ATOMS += [
    "X",
    "Y",
    "TABLE",
    "Alias",
    "os.environ",
    "os.environ['A']",
    "Inputs.p",
    "Inputs.make()",
    "list(TABLE)",
    "...",
]
ATOMS += ["0x" + "f" * 40, "lambda: 1", "TABLE.keys()", "{}", "[]", "()", "{*X}", "{**TABLE}", "[*X]", "Color.A.value"]
ATOMS += [
    "list(TABLE)",
    "1j",
    "'\u2028'",
    "'é\\n'",
    "r'\\d'",
    "'a' 'b'",
    "-0.0",
    "1_0",
    "not X",
    "~1",
    "await x",
    "(yield)",
    "x:=1",
]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<<", ">>", "|", "&", "@", " and ", " if X else ", " == "]
WORDS = ["default", "description", "ge", "le", "min_length", "max_length", "regex", "choices", "deprecated", "accept"]
WORDS += ["default_factory", "unknown"]
FUNCTIONS = [
    "list",
    "sorted",
    "len",
    "range",
    "str",
    "max",
    "dict",
    "next",
    "set",
    "f",
    "int",
    "float",
    "iter",
    "print",
]
HEAD = """
import os, typing as t, cog, torch
from typing import *
from enum import Enum
from pydantic import Field
from cog import BaseModel, File, Input, Input as I, Path, Secret, ConcatenateIterator
X = ["a", "b"]
TABLE = {"a": 1, "b": torch}
Alias = List[int]
class Color(str, Enum):
    A = "a"
class TD(TypedDict): a: int
class Out(BaseModel): a: "Optional[Out]"
class Inputs:
    p = Input(default=3)
    @staticmethod
    def make(default=1, **kw): return Input(default=default, **kw)
"""


class Author:
    """Writes a source; `below(n)` decides, with a number from 0 to n - 1."""

    def __init__(self, below: Callable[[int], int]) -> None:
        self.below = below

    def one(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def some(self, write: Callable[[], str], most: int) -> list[str]:
        return [write() for _ in range(self.below(most + 1))]

    def value(self, depth: int = 3) -> str:
        if depth == 0 or self.below(2):
            return self.one(ATOMS)

        def inner() -> str:
            return self.value(depth - 1)

        match self.below(8):
            case 0:
                return f"({inner()}{self.one(OPERATORS)}{inner()})"
            case 1:
                return f"[{', '.join(self.some(inner, 3))}]"
            case 2:
                return f"{{{inner()}: {inner()}}}"
            case 3:
                return f"{self.one(FUNCTIONS)}({inner()})"
            case 4:
                return f"{inner()}[{inner()}]"
            case 5:
                return f"[{inner()} for x in {inner()}]"
            case 6:
                return f"({inner()}).{self.one(['keys', 'values', 'strip', 'upper', 'nope'])}()"
            case _:
                return f"','.join({inner()})"

    def type(self, depth: int = 3) -> str:
        if depth == 0 or self.below(2):
            return self.one(TYPES)
        match self.below(4):
            case 0:
                return f"{self.type(depth - 1)} | {self.type(depth - 1)}"
            case 1:
                return repr(self.type(depth - 1))
            case _:
                inner = self.some(lambda: self.type(depth - 1), 2) or ["int"]
                return f"{self.one(GENERICS)}[{', '.join(inner)}]"

    def call(self) -> str:
        given = {self.one(WORDS): self.value(2) for _ in range(self.below(4))}
        words = ", ".join(f"{name}={value}" for name, value in given.items())
        return f"{self.one(['Input', 'cog.Input', 'I', 'Inputs.make', 'make'])}({words})"

    def default(self) -> str:
        return self.one([self.value, self.call, self.call, lambda: "Input(**TABLE)", lambda: "Input(X, ge=0)"])()

    def parameter(self, name: str) -> str:
        annotation = f": {self.type()}" if self.below(12) else ""
        return name + annotation + (f" = {self.default()}" if self.below(3) else "")

    def statement(self) -> str:
        name, other = self.one(NAMES), self.one(NAMES)
        match self.below(12):
            case 0 | 1:
                return f"{name} = {self.value()}"
            case 2:
                return f"{name} = {self.type()}"
            case 3:
                return f"{name} += {self.value()}"
            case 4:
                return f"{name}.{self.one(['append', 'extend', 'update'])}({self.value()})\n{name}[{other}] = {name}"
            case 5:
                return f"{name}: {self.type()} = {self.value()}"
            case 6:
                return f"class {name}(BaseModel):\n    f: {self.type()}\n    g: 'Out' = Field(default=3)"
            case 7:
                return f"class {name}({other}): pass"
            case 8:
                return f"from {name} import {other}\nfrom cog import {other} as {name}"
            case 9:
                return self.one(
                    ["from run import *", "from . import run", "from .run import X as Y", "import a.b as q"]
                )
            case 10:
                return f"if {name}:\n    {name} = {self.value()}\nelse:\n    {name} = 1"
            case _:
                return f"def make(**kw):\n    return {self.call()}"

    def decorator(self) -> str:
        usual = ["cog.streaming", "cog.concurrent(max=2)", "staticmethod", "cog.concurrent", "torch.no_grad()"]
        if self.below(2):
            return self.one(usual)
        return f"cog.input({self.value(1)}, type={self.type(1)}, default={self.value(1)})"

    def model(self) -> str:
        """A model, which may or may not make sense."""
        body = "\n".join(self.some(self.statement, 3))
        decorators = [f"    @{self.decorator()}\n" for _ in range(max(0, self.below(4) - 1))]
        names = dict.fromkeys(self.some(lambda: self.one(NAMES), 4))
        given = ", ".join([self.one(["self"] * 9 + ["self, *", "self, /", "*args"]), *map(self.parameter, names)])
        arrow = f" -> {self.type()}" if self.below(12) else ""
        method = self.one(["def run", "def predict", "async def run"])
        return f"{HEAD}\n{body}\nclass Runner:\n{''.join(decorators)}    {method}({given}){arrow}: ...\n"


@st.composite
def models(draw: st.DrawFn) -> str:
    """Sources of models, in a way that hypothesis can make smaller."""
    return Author(lambda count: draw(st.integers(0, count - 1))).model()
