from typing import TypedDict
from cog import BaseModel


class Part(TypedDict):
    name: str
    weight: float


class Tagged(BaseModel):
    tags: list[str] = []
