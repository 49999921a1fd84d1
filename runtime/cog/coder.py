"""Custom encodings of a model's own types.  Standard library only."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List, Optional, Type


class Coder:
    """Turns one type into a JSON object and back; subclasses register themselves with `Coder.register`."""

    _registered: ClassVar[List[Type["Coder"]]] = []

    @staticmethod
    def register(coder: Type["Coder"]) -> Type["Coder"]:
        """Make a subclass known; usable as a decorator."""
        if coder not in Coder._registered:
            Coder._registered.append(coder)
        return coder

    @staticmethod
    def lookup(wanted: type) -> Optional["Coder"]:
        """The coder of a type, or None."""
        for candidate in Coder._registered:
            coder = candidate.factory(wanted)
            if coder is not None:
                return coder
        return None

    @staticmethod
    def factory(wanted: type) -> Optional["Coder"]:
        """A coder for `wanted`, or None if this one does not know it."""
        raise NotImplementedError

    def encode(self, value: Any) -> Dict[str, Any]:
        """The JSON object that stands for `value`."""
        raise NotImplementedError

    def decode(self, value: Dict[str, Any]) -> Any:
        """The value that a JSON object stands for."""
        raise NotImplementedError
