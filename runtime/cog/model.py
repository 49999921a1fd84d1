"""`BaseModel`: an output of several named fields.  Standard library only."""

from __future__ import annotations

import dataclasses
from typing import Any


class BaseModel:
    """Base of output models: every subclass becomes a dataclass.

    `auto_dataclass=False` leaves a subclass alone; other class keywords go to `dataclasses.dataclass`.
    """

    _cog_auto_dataclass = False

    def __init_subclass__(cls, *, auto_dataclass: bool = True, init: bool = True, **options: Any) -> None:
        super().__init_subclass__()
        primary, *others = cls.__bases__
        if not issubclass(primary, BaseModel):
            raise TypeError(f'Primary base class of "{cls.__name__}" must inherit from BaseModel')
        if not auto_dataclass and vars(primary).get("_cog_auto_dataclass"):
            raise ValueError(
                f'Primary base class of "{cls.__name__}" ("{primary.__name__}") has auto_dataclass=True, but '
                f'"{cls.__name__}" has auto_dataclass=False. This creates broken field inheritance.'
            )
        for other in others:
            if dataclasses.is_dataclass(other):
                raise TypeError(f'Cannot mixin dataclass "{other.__name__}" while inheriting from `BaseModel`')
        cls._cog_auto_dataclass = auto_dataclass
        if auto_dataclass:
            dataclasses.dataclass(init=init, **options)(cls)
