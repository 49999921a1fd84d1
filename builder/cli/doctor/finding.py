"""What a check found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from builder.errors import CogsmithError
from builder.frozen import frozen


@frozen
class Finding:
    """One line of the report; `mend` puts it right and says what it did."""

    level: Literal["ok", "warning", "error"]
    text: str
    details: str = ""
    hint: str = ""
    mend: Callable[[], str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; whether it can be mended instead of how."""
        fixable = self.mend is not None
        return {
            "level": self.level,
            "text": self.text,
            "details": self.details,
            "hint": self.hint,
            "fixable": fixable,
        }


def from_error(problem: CogsmithError, *, level: Literal["warning", "error"] = "error") -> Finding:
    """The finding that an error is."""
    return Finding(level=level, text=problem.brief, details=problem.details or "", hint=problem.hint or "")
