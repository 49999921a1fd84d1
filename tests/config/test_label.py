"""The label `run.cog.config`: the completed configuration in Cog's own order."""

from __future__ import annotations

import json
from pathlib import Path

from builder.compile import compile_plan, config_label
from builder.config import load
from builder.lock import DebianBase, Lock
from builder.plan import Interpreter

TEXT = """\
weights: [{name: w, target: /w, source: [{uri: "hf://a/b", include: ["*.bin"]}, {uri: ./x}]}]
environment: [B=2, A=1]
concurrency: {max: 4}
train: train.py:train
run: run.py:Runner
model: r8.im/me/model
build:
  sdk_version: 0.17.0
  cudnn: 9
  cuda: 12.4
  pre_install: [echo]
  system_packages: [ffmpeg]
  run: [a, {command: b, mounts: [{type: secret, id: t, target: /t}]}]
  python_requirements: requirements.txt
  python_version: 3.11
  gpu: true
"""


def test_the_order_and_shape_of_cog() -> None:
    label = config_label(load(TEXT, path=Path("cog.yaml")))
    assert json.dumps(label) == json.dumps(
        {
            "build": {
                "gpu": True,
                "python_version": "3.11",
                "python_requirements": "requirements.txt",
                "run": [
                    {"command": "a"},
                    {"command": "b", "mounts": [{"type": "secret", "id": "t", "target": "/t"}]},
                ],
                "system_packages": ["ffmpeg"],
                "pre_install": ["echo"],
                "cuda": "12.4",
                "cudnn": "9",
                "sdk_version": "0.17.0",
            },
            "model": "r8.im/me/model",
            "predict": "run.py:Runner",
            "train": "train.py:train",
            "concurrency": {"max": 4},
            "environment": ["B=2", "A=1"],
            "weights": [
                {"name": "w", "target": "/w", "source": [{"uri": "hf://a/b", "include": ["*.bin"]}, {"uri": "./x"}]}
            ],
        }
    )


def test_what_the_resolution_chose_is_in_it() -> None:
    label = config_label(load("run: run.py:Runner\n", path=Path("cog.yaml")), python_version="3.13")
    assert label == {"build": {"python_version": "3.13"}, "predict": "run.py:Runner"}


def test_the_oldest_format_comes_out_as_todays() -> None:
    old = 'environment: {python_version: "3.8", system_packages: [git]}\nmodel: "model.py:Model"\n'
    label = config_label(load(old, path=Path("cog.yaml")))
    assert label == {"build": {"python_version": "3.8", "system_packages": ["git"]}, "predict": "model.py:Model"}


def test_variables_of_the_image_refer_to_what_is_above() -> None:
    text = 'run: run.py:R\nenvironment: [SOME_DIR=/src/x, "ANOTHER=$SOME_DIR/w", "P=$PATH:/z", "B=\\"q r\\""]\n'
    config = load(text, path=Path("cog.yaml"))
    lock = Lock(
        config_hash="",
        platform="linux/amd64",
        interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
        base=DebianBase(suite="bookworm", architecture="amd64", debs=()),
        wheels=(),
        runtime_version="0",
        runtime_wheels=(),
    )
    plan = compile_plan(config, lock=lock, code=(), large=(), runtime=(), schema=None, version="0")
    env = dict(plan.config.env)
    assert (env["ANOTHER"], env["B"]) == ("/src/x/w", "q r")
    assert env["P"] == f"{env['PATH']}:/z"
    assert env["COG_PREDICT_TYPE_STUB"] == "run.py:R"
    label = json.loads(dict(plan.config.labels)["run.cog.config"])
    assert label["environment"][1] == "ANOTHER=$SOME_DIR/w"
