"""`@frozen` behaves as a frozen, slotted, keyword-only dataclass does."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from builder.frozen import frozen


@frozen
class Ours:
    """A value."""

    name: str
    size: int = 3
    tags: tuple[str, ...] = ()
    note: list[str] = dataclasses.field(default_factory=list, compare=False)
    secret: str = dataclasses.field(default="x", repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """The same, by the standard library."""

    name: str
    size: int = 3
    tags: tuple[str, ...] = ()
    note: list[str] = dataclasses.field(default_factory=list, compare=False)
    secret: str = dataclasses.field(default="x", repr=False)


KINDS = [Ours, Theirs]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_dataclass(kind: Any) -> None:
    one = kind(name="a", tags=("t",))
    assert dataclasses.is_dataclass(kind)
    assert [field.name for field in dataclasses.fields(one)] == ["name", "size", "tags", "note", "secret"]
    assert dataclasses.asdict(one) == {"name": "a", "size": 3, "tags": ("t",), "note": [], "secret": "x"}
    assert dataclasses.replace(one, size=4) == kind(name="a", size=4, tags=("t",))
    assert repr(one).endswith("(name='a', size=3, tags=('t',), note=[])")


@pytest.mark.parametrize("kind", KINDS)
def test_equality_and_hash_leave_out_what_is_not_compared(kind: Any) -> None:
    assert kind(name="a", note=["1"]) == kind(name="a", note=["2"])
    assert hash(kind(name="a", note=["1"])) == hash(kind(name="a"))
    assert kind(name="a") != kind(name="b")
    assert kind(name="a") != ("a", 3, (), [], "x")
    assert len({kind(name="a"), kind(name="a"), kind(name="a", size=4)}) == 2


def test_two_kinds_with_the_same_fields_differ() -> None:
    assert Ours(name="a") != Theirs(name="a")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_can_be_changed_or_added(kind: Any) -> None:
    one = kind(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.size
    with pytest.raises((AttributeError, TypeError)):
        one.other = 1
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [{}, {"name": "a", "nmae": "b"}])
def test_a_missing_or_unknown_argument_is_a_type_error(kind: Any, arguments: dict[str, str]) -> None:
    with pytest.raises(TypeError, match=r"name|nmae"):
        kind(**arguments)
    with pytest.raises(TypeError):
        kind("a")


@pytest.mark.parametrize("kind", KINDS)
def test_each_instance_has_its_own_default(kind: Any) -> None:
    assert kind(name="a").note is not kind(name="a").note


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_copied_and_pickled(kind: Any) -> None:
    one = kind(name="a", note=["n"])
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == copy.deepcopy(one) == one
