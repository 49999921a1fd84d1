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
        primary = cls.__mro__[1]
        if not issubclass(primary, BaseModel):
            raise TypeError(f"Primary base class of {cls.__name__} must be BaseModel or a subclass of it")
        for other in cls.__bases__[1:]:
            if dataclasses.is_dataclass(other) and not issubclass(other, BaseModel):
                raise TypeError(f"Cannot mix dataclass {other.__name__} into the BaseModel {cls.__name__}")
        if primary is not BaseModel and getattr(primary, "_cog_auto_dataclass", False) and not auto_dataclass:
            raise ValueError(f"{cls.__name__} cannot set auto_dataclass=False: {primary.__name__} is a dataclass")
        cls._cog_auto_dataclass = auto_dataclass
        if auto_dataclass:
            dataclasses.dataclass(init=init, **options)(cls)
