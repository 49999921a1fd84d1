"""The models that Cog's users start from, locked, planned, built and run for real, with times and sizes.

    python bench/models.py resnet          # tensorflow 2.12.0 on Python 3.11: a picture in, the top three out
    python bench/models.py torch-2021      # torch 1.9.0 and transformers 4.11.3 on Python 3.8
    python bench/models.py torch-2024      # torch 2.3.1 on Python 3.12
    python bench/models.py diffusers       # with a GPU: locked and planned; with --build, its layers are made

`--stand-in` takes Python 3.8 or 3.12 of this machine where python-build-standalone's cannot be had.  The store of the
user is used, or `XDG_CACHE_HOME`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RESNET = """from typing import Any

import numpy as np
from cog import BasePredictor, Input, Path
from tensorflow.keras.applications.resnet50 import ResNet50, preprocess_input
from tensorflow.keras.preprocessing import image as keras_image


class Predictor(BasePredictor):
    def setup(self):
        self.model = ResNet50(weights="resnet50.h5")

    def predict(self, image: Path = Input(description="Image to classify")) -> Any:
        array = keras_image.img_to_array(keras_image.load_img(image, target_size=(224, 224)))
        found = self.model.predict(preprocess_input(np.expand_dims(array, axis=0)))[0]
        return [(str(i), float(found[i])) for i in found.argsort()[::-1][:3]]
"""
SAVE = "from tensorflow.keras.applications.resnet50 import ResNet50; ResNet50(weights=None).save_weights('resnet50.h5')"
IMPORT = """from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self) -> str:
        import {module}

        return {module}.__version__
"""
MODELS = {
    "resnet": ("3.11", ["tensorflow==2.12.0", "pillow==9.5.0"], False),
    "torch-2021": ("3.8", ["torch==1.9.0", "transformers==4.11.3"], False),
    "torch-2024": ("3.12", ["torch==2.3.1"], False),
    "diffusers": ("3.11", ["torch", "diffusers", "transformers", "accelerate"], True),
}


def main() -> None:
    """Do it, and print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--build", action="store_true")
    given = parser.parse_args()
    python, packages, gpu = MODELS[given.model]
    with tempfile.TemporaryDirectory() as scratch, interpreter(Path(scratch), python, wanted=given.stand_in) as env:
        project = Path(scratch) / given.model
        project.mkdir()
        version = env.pop("VERSION", python)
        (project / "cog.yaml").write_text(
            f'build:\n  python_version: "{version}"\n  gpu: {str(gpu).lower()}\n'
            '  python_requirements: requirements.txt\npredict: "predict.py:Predictor"\n'
        )
        (project / "requirements.txt").write_text("\n".join([*packages, ""]))
        module = "transformers" if "transformers" in packages[-1] else "torch"
        (project / "predict.py").write_text(RESNET if given.model == "resnet" else IMPORT.format(module=module))

        def run(*words: str | Path) -> str:
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "builder.cli", *words],
                cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, stdout=subprocess.PIPE, text=True,
                check=True,
            )  # fmt: skip
            print(f"{time.perf_counter() - start:7.1f} s  cogsmith {' '.join(map(str, words))}", flush=True)
            return done.stdout

        run("lock", "--no-layers")
        print(run("plan"))
        if gpu and not given.build:
            return
        name = f"bench-model-{given.model}"
        run("build", "--locked", "-t", name)
        if given.model == "resnet":
            run("exec", "python", "-c", SAVE)
            run("build", "--locked", "-t", name)
            picture = bytes((x * 7 + y * 3 + c * 50) % 256 for y in range(240) for x in range(320) for c in range(3))
            (project / "picture.ppm").write_bytes(b"P6\n320 240\n255\n" + picture)
            print(run("run", name, "-i", "image=@picture.ppm"))
        elif not gpu:
            print(run("run", name))
        layers = json.loads(run("image", "inspect", "--json", name))["manifest"]["layers"]
        print(f"{len(layers)} layers, {sum(layer['size'] for layer in layers) / 1e6:.0f} MB")


@contextlib.contextmanager
def interpreter(folder: Path, minor: str, *, wanted: bool) -> Iterator[dict[str, str]]:
    """The settings that make uv take a Python of this machine, and its exact `VERSION`; nothing where it need not."""
    if not wanted:
        yield {}
        return
    from tests import standin_python

    found = sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python{minor}"))
    if not found:
        sys.exit(f"this machine has no Python {minor} below ~/.pyenv")
    archive = folder / f"cpython-{minor}-linux-install_only.tar.gz"
    version = standin_python.pack(found[-1], archive)
    with standin_python.mirror(folder, version=version, archive=archive) as env:
        yield {**env, "VERSION": version}


if __name__ == "__main__":
    main()
