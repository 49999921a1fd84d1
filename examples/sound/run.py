import subprocess

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def run(
        self,
        frequency: float = Input(description="Hertz", ge=20, le=20000, default=440),
        seconds: float = Input(description="How long", ge=0.01, le=10, default=1),
    ) -> Path:
        """A tone, made by a program that `build.system_packages` brings."""
        output = Path("/tmp/tone.wav")
        tone = ["synth", str(seconds), "sine", str(frequency)]
        subprocess.run(["sox", "-n", "-r", "16000", "-b", "16", str(output), *tone], check=True)
        return output
