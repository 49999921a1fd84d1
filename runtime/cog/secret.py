"""`Secret`: a string that does not show itself.  Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Secret:
    """A value kept out of logs and tracebacks; read it with `get_secret_value()`."""

    secret_value: Optional[str] = None

    def get_secret_value(self) -> Optional[str]:
        """The value itself."""
        return self.secret_value

    def __str__(self) -> str:
        return "**********" if self.secret_value is not None else ""

    def __repr__(self) -> str:
        return f"Secret({self})"
