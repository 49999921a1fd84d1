"""The image's configuration: its environment, its labels, what it starts.

A pure function of the configuration and the lock, as all of this room.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from builder.config import Config, Weight
from builder.config.words import expand
from builder.lock import DebianBase, ImageBase, Lock
from builder.lock.freeze import freeze
from builder.plan import ImageConfig, to_plain

VENV = "/opt/venv"
SOURCE_ROOT = "/src"
PORT = "5000/tcp"

_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def image_config(config: Config, *, lock: Lock, schema: Mapping[str, Any] | None, version: str) -> ImageConfig:
    """What the image says of itself; `schema` is the model's, for the label, `version` this release's."""
    base_env = dict(lock.base.env) if isinstance(lock.base, ImageBase) else {"PATH": _DEFAULT_PATH, "LANG": "C.UTF-8"}
    architecture = lock.platform.split("/")[1]
    env = dict(base_env)
    env["PATH"] = f"{VENV}/bin:{base_env.get('PATH', _DEFAULT_PATH)}"
    env["VIRTUAL_ENV"] = VENV
    env["DEBIAN_FRONTEND"] = "noninteractive"
    env["PYTHONUNBUFFERED"] = "1"
    libraries = [f"/usr/lib/{_TRIPLETS[architecture]}", "/usr/local/nvidia/lib64", "/usr/local/nvidia/bin"]
    env["LD_LIBRARY_PATH"] = ":".join([*filter(None, [base_env.get("LD_LIBRARY_PATH", "")]), *libraries])
    env["NVIDIA_DRIVER_CAPABILITIES"] = "all"
    if lock.cuda is not None:
        env["NVIDIA_VISIBLE_DEVICES"] = "all"
        packages = f"{VENV}/lib/python{lock.interpreter.minor}/site-packages"
        own = [f"{packages}/{folder}" for folder in lock.cuda.libraries]
        env["LD_LIBRARY_PATH"] = ":".join([*own, env["LD_LIBRARY_PATH"]])
    env |= _environment(config, env=env)
    if config.run:
        env["COG_PREDICT_TYPE_STUB"] = config.run
    if config.train:
        env["COG_TRAIN_TYPE_STUB"] = config.train
    if config.concurrency:
        env["COG_MAX_CONCURRENCY"] = str(config.concurrency)
    entrypoint = ("/usr/bin/tini", "--") if isinstance(lock.base, DebianBase) else ()
    labels = dict(lock.base.labels) if isinstance(lock.base, ImageBase) else {}
    labels |= {
        "run.cog.version": version,
        "run.cog.config": json.dumps(
            config_label(_with_cuda(config, lock=lock), python_version=lock.interpreter.minor), separators=(",", ":")
        ),
        "run.cog.pip_freeze": freeze(lock),
    }
    if entrypoint:
        labels["run.cog.has_init"] = "true"
    if schema is not None:
        labels["run.cog.openapi_schema"] = dump_schema(schema)
    annotations: dict[str, str] = {}
    if isinstance(lock.base, ImageBase):
        annotations = {
            "org.opencontainers.image.base.digest": lock.base.digest,
            "org.opencontainers.image.base.name": lock.base.reference,
        }
    return ImageConfig(
        env=tuple(env.items()),
        entrypoint=entrypoint,
        cmd=("python", "-m", "cog.server.http"),
        working_dir=SOURCE_ROOT,
        exposed_ports=(PORT,),
        labels=tuple(sorted(labels.items())),
        user=lock.base.user if isinstance(lock.base, ImageBase) else "",
        annotations=tuple(sorted(annotations.items())),
    )


def _with_cuda(config: Config, *, lock: Lock) -> Config:
    """The configuration with the CUDA and the cuDNN that were decided on, as Cog completes it."""
    if lock.cuda is None:
        return config
    cuda, cudnn = config.cuda or lock.cuda.version, config.cudnn or lock.cuda.cudnn
    return dataclasses.replace(config, cuda=cuda or None, cudnn=cudnn or None)


def _environment(config: Config, *, env: Mapping[str, str]) -> dict[str, str]:
    """The project's own variables by name; a value may refer to what the image has and to those above it."""
    made: dict[str, str] = {}
    for name, value in config.environment:
        made[name] = expand(value, variables={**env, **made})
    return dict(sorted(made.items()))


def config_label(config: Config, *, python_version: str = "") -> dict[str, Any]:
    """The completed configuration as Cog stores it in `run.cog.config`: `run` under its old name `predict`.

    `python_version` is what the resolution chose, where the configuration names none.
    """
    build: dict[str, Any] = {
        "gpu": config.gpu,
        "python_version": config.python_version or python_version,
        "python_requirements": config.python_requirements,
        "python_packages": list(config.python_packages),
        "run": [{k: v for k, v in to_plain(item).items() if v} for item in config.commands],
        "system_packages": list(config.system_packages),
        "pre_install": list(config.pre_install),
        "cuda": config.cuda,
        "cudnn": config.cudnn,
        "sdk_version": config.sdk_version,
        "base_image": config.base_image,
        "python_project": config.python_project,
        "platforms": list(config.platforms),
    }
    label: dict[str, Any] = {
        "build": {name: value for name, value in build.items() if value},
        "image": config.image,
        "model": config.model,
        "predict": config.run,
        "train": config.train,
        "concurrency": {"max": config.concurrency} if config.concurrency else None,
        "environment": [f"{name}={value}" for name, value in config.environment],
        "weights": [_weight_label(weight) for weight in config.weights],
    }
    return {name: value for name, value in label.items() if value}


def _weight_label(weight: Weight) -> dict[str, Any]:
    sources = [{name: value for name, value in to_plain(source).items() if value} for source in weight.sources]
    return {"name": weight.name, "target": weight.target, "source": sources}


def dump_schema(schema: Mapping[str, Any]) -> str:
    """The schema as the image holds it: compact, in its own order, with `<`, `>`, `&` escaped as Go does."""
    text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
