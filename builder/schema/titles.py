"""Titles, and objects whose members keep their order: what models and documents share."""

from __future__ import annotations

from typing import Any


class Ordered(dict[str, Any]):
    """An object whose members keep their order; those of others are written in that of the alphabet."""


def title(name: str) -> str:
    """`num_steps` → `Num Steps`."""
    return " ".join(word[:1].upper() + word[1:] for word in name.split("_"))
