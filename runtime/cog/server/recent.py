"""Predictions that have ended, for those who ask again: the latest, as many as fit.  Standard library only."""

from __future__ import annotations

import collections
from typing import Callable, Optional, Tuple

from cog.server.prediction import Prediction

COUNT_MAX = 512
"""How many are remembered."""

TEXT_MAX = 64 << 20
"""Bytes of their answers together, in memory, from which on the oldest are forgotten; the latest one always stays."""

FILES_MAX = 2 << 30
"""The same of the files that they keep."""


class Recent:
    """The latest predictions by id.  `forget` is called with each one that is dropped."""

    def __init__(self, *, forget: Callable[[Prediction], None]) -> None:
        self._forget = forget
        self._entries: "collections.OrderedDict[str, Tuple[Prediction, int, int]]" = collections.OrderedDict()
        self._text = 0
        self._files = 0

    def add(self, prediction: Prediction, *, text: int, files: int) -> None:
        """Remember one that has ended, whose answer takes so many bytes in memory and on disk."""
        self.drop(prediction.id)
        self._entries[prediction.id] = (prediction, text, files)
        self._text += text
        self._files += files
        while len(self._entries) > 1 and (
            len(self._entries) > COUNT_MAX or self._text > TEXT_MAX or self._files > FILES_MAX
        ):
            self.drop(next(iter(self._entries)))

    def get(self, identity: str) -> Optional[Prediction]:
        """The one that ended last with this id."""
        entry = self._entries.get(identity)
        return None if entry is None else entry[0]

    def drop(self, identity: str) -> None:
        """Forget it, if it is known."""
        entry = self._entries.pop(identity, None)
        if entry is not None:
            prediction, text, files = entry
            self._text -= text
            self._files -= files
            self._forget(prediction)
