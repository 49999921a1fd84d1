from cog import BaseModel, Path
from .parts import Part, Tagged


class Result(Tagged):
    files: list[Path]
    parts: dict[str, Part]
