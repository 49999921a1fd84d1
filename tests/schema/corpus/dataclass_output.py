import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple
from cog import Path


class Status(str, Enum):
    OK = "ok"
    BAD = "bad"


@dataclass(frozen=True)
class Base:
    id: int
    state: Status = Status.OK


@dataclasses.dataclass
class Result(Base):
    files: list[Path] = field(default_factory=list)
    kind: Literal["a", "b"] = "a"
    score: float = field(default=0.0)


class Runner:
    def run(self, number: int) -> list[Result]: ...
