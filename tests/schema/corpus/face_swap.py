#!/usr/bin/env python3
# -*- coding: utf-8 -*-
"""Face swap (CodeFormer)."""
try:
    from typing import Literal
except ImportError:
    Literal = None
import sys
sys.path.insert(0, "CodeFormer")
if sys.version_info >= (3, 9):
    from typing import Annotated
else:
    from typing_extensions import Annotated
from cog import BaseModel, BasePredictor, Input, Path
from typing import Optional, Union


class Output(BaseModel):
    msg: Optional[str]
    file: Union[Path, None]
    code: int = 200
    ms: float = 0.0


class Predictor(BasePredictor):
    def __init__(self):
        self.det_thresh = 0.1

    def predict(self,
                target_image: Path = Input(description='Target image', accept="image/*"),
                swap_image: Annotated[Path, "a face"] = Input(description="Swap image", accept=".png,.jpg"),
                cache_days: int = Input(description="Cache days", default=10)) -> Output:
        ...
