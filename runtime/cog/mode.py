"""What a container was started for.  Standard library only."""

from __future__ import annotations

import enum


class Mode(enum.Enum):
    """Predict or train."""

    PREDICT = "predict"
    TRAIN = "train"

    def __str__(self) -> str:
        return self.value
