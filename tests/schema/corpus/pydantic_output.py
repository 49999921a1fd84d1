from typing import ClassVar, Optional, List
import pydantic
from pydantic import BaseModel as PydanticModel, Field, PrivateAttr
from cog import BaseRunner


class Word(PydanticModel):
    text: str = Field(..., description="as spoken")
    start: float = Field(ge=0)
    end: float = Field(default=0.0)
    tags: List[str] = Field(default_factory=list)
    _cache: dict = PrivateAttr(default_factory=dict)
    VERSION: ClassVar[int] = 2


class Transcript(pydantic.BaseModel):
    model_config = {"extra": "forbid"}
    words: list[Word]
    language: Optional[str] = None
    duration: float


class Runner(BaseRunner):
    def run(self, audio: str) -> Transcript: ...
