import torch
from cog import BaseRunner, Input, Path
from PIL import Image


class Runner(BaseRunner):
    def setup(self) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        print(f"on {torch.cuda.get_device_name() if self.device == 'cuda' else 'the CPU'}")

    def run(
        self,
        x: float = Input(description="The middle, real part", default=-0.75),
        y: float = Input(description="The middle, imaginary part", default=0.0),
        zoom: float = Input(description="How often the whole fits in", default=1.0, ge=1),
        size: int = Input(description="Pixels on a side", default=1024, ge=16, le=8192),
        steps: int = Input(description="How long a point may stay", default=200, ge=1, le=10000),
    ) -> Path:
        """A picture of the Mandelbrot set, every point at once."""
        axis = torch.linspace(-1.5 / zoom, 1.5 / zoom, size, dtype=torch.float64, device=self.device)
        c = torch.complex(axis[None, :] + x, axis[:, None] + y)
        z, stayed = torch.zeros_like(c), torch.zeros(size, size, dtype=torch.int32, device=self.device)
        for _ in range(steps):
            z = z * z + c
            inside = z.abs() < 2
            stayed += inside
            z = torch.where(inside, z, 2)
        shade = (255 * (1 - stayed / steps)).to(torch.uint8).cpu().numpy()
        Image.fromarray(shade).save("/tmp/mandelbrot.png")
        return Path("/tmp/mandelbrot.png")
