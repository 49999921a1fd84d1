from cog import BaseRunner, Input, Path
from PIL import Image


class Runner(BaseRunner):
    def run(
        self,
        image: Path = Input(description="The picture", accept="image/*"),
        scale: float = Input(description="Factor for both sides", ge=0.01, le=8, default=0.5),
    ) -> Path:
        output = Path("/tmp/resized.png")
        with Image.open(image) as picture:
            width, height = (max(1, round(side * scale)) for side in picture.size)
            picture.resize((width, height), Image.Resampling.LANCZOS).save(output)
        return output
