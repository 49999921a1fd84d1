from .net.base import Base
from .net import kinds


class Predictor(Base):
    answer: kinds.Answer

    def setup(self): ...
