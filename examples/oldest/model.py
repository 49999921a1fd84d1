import cog


class Repeater(cog.Model):
    def setup(self):
        self.separator = " "

    @cog.input("word", type=str, help="What to repeat")
    @cog.input("times", type=int, default=2, min=1, max=5, help="How often")
    @cog.input("case", type=str, default="lower", options=["lower", "upper"], help="How to write it")
    def run(self, word, times, case):
        word = word.upper() if case == "upper" else word.lower()
        return self.separator.join([word] * times)
