# the first format: no annotations at all
import tempfile
from pathlib import Path

import cog
import torch
from PIL import Image


class Model(cog.Model):
    def setup(self):
        self.net = torch.load("weights.pth")

    @cog.input("input", type=Path, help="Content image")
    @cog.input("style", type=str, default="mosaic", options=["mosaic", "candy", "udnie"], help="Which style")
    @cog.input("strength", type=float, default=1.0, min=0, max=2, help="How much of it")
    @cog.input("size", type=int, default=None, min=64, max=2048)
    @cog.input("keep_colors", type=bool, default=False)
    def run(self, input, style, strength, size=None, keep_colors=False):
        """Run a single prediction on the model"""
        image = Image.open(str(input))
        output_path = Path(tempfile.mkdtemp()) / "out.png"
        image.save(str(output_path))
        return output_path
