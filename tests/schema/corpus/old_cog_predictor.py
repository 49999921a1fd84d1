import cog


class Predictor(cog.Predictor):
    def setup(self):
        self.prefix = "hello"

    @cog.input("text", type=str, help="Text that will be prefixed by 'hello '")
    @cog.input("times", type=int, min=1, max=10, default=1)
    @cog.input("extra", str, "")
    def predict(self, text, times, extra):
        result = {"text": f"{self.prefix} {text}" * times}
        return result
