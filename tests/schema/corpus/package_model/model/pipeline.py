from cog import BasePredictor


class Pipeline(BasePredictor):
    def setup(self): ...
