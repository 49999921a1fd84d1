from typing import Optional
from cog import Path as ImagePath

OptionalInt = Optional[int]
