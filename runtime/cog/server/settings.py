"""What the server was told by its command line and environment.  Standard library only."""

from __future__ import annotations

import argparse
import dataclasses
from typing import List, Mapping, Optional

import cog
from cog.server.console import LEVELS

BODY_MAX = 100 << 20
"""Longest request body, in bytes."""


class UsageError(Exception):
    """The server cannot be started this way."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that may differ from one start to the next.  `setup_timeout` is in seconds."""

    ref: str
    mode: str = "predict"
    train_ref: Optional[str] = None
    """What trains, where `mode` is `predict` and the model can be trained."""
    host: str = "0.0.0.0"  # noqa: S104  # a container is reached from outside
    port: int = 5000
    await_explicit_shutdown: bool = False
    concurrency: Optional[int] = None
    setup_timeout: Optional[float] = None
    kubernetes: bool = False
    log_level: str = "info"
    log_format: str = "json"
    upload_url: Optional[str] = None
    throttle: float = 0.5
    """Seconds between two webhook requests of one prediction that tell of logs or output."""
    history: int = 1024
    """Events of a prediction that a client which comes late still gets."""
    webhook_token: Optional[str] = None
    version: Optional[str] = None
    """What answers say under `version` unless the client did."""


def parse(argv: List[str], *, environment: Mapping[str, str]) -> Settings:
    """The settings of a start; UsageError if the model is not named or a value is malformed."""
    parser = argparse.ArgumentParser(prog="python -m cog.server.http", description="Serve a Cog model over HTTP")
    parser.add_argument("-v", "--version", action="version", version=cog.__version__)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104
    parser.add_argument("--threads", type=int, help="ignored")
    parser.add_argument(
        "--upload-url", help="where files are uploaded (PUT URL/NAME), instead of being sent as data URLs"
    )
    parser.add_argument("--await-explicit-shutdown", type=_truth, nargs="?", const=True, default=False)
    parser.add_argument("--x-mode", choices=["predict", "train"], default="predict")
    given = parser.parse_args(argv)
    name = "COG_TRAIN_TYPE_STUB" if given.x_mode == "train" else "COG_PREDICT_TYPE_STUB"
    ref = environment.get(name)
    if not ref:
        raise UsageError(f"{name} environment variable is not set. It names the model, for example run.py:Runner")
    return Settings(
        ref=ref,
        mode=given.x_mode,
        train_ref=environment.get("COG_TRAIN_TYPE_STUB") or None if given.x_mode == "predict" else None,
        host=given.host,
        port=_number(environment, "PORT", least=0, most=65535) or 0 if environment.get("PORT") else 5000,
        await_explicit_shutdown=given.await_explicit_shutdown,
        concurrency=_concurrency(environment.get("COG_MAX_CONCURRENCY")),
        setup_timeout=_limit(environment.get("COG_SETUP_TIMEOUT")),
        kubernetes=bool(environment.get("KUBERNETES_SERVICE_HOST")),
        log_level=_log_level(environment.get("COG_LOG_LEVEL")),
        log_format="console" if environment.get("LOG_FORMAT", "").strip().lower() == "console" else "json",
        upload_url=given.upload_url or None,
        throttle=_seconds(environment.get("COG_THROTTLE_RESPONSE_INTERVAL"), otherwise=0.5),
        history=_count(environment.get("COG_STREAM_HISTORY_CAPACITY"), otherwise=1024),
        webhook_token=environment.get("WEBHOOK_AUTH_TOKEN", "").strip() or None,
        version=environment.get("COG_MODEL_VERSION") or None,
    )


def _truth(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _number(environment: Mapping[str, str], name: str, *, least: int, most: int) -> Optional[int]:
    text = environment.get(name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise UsageError(f"{name} must be a number from {least} to {most}, not {text!r}")
    return number


def _log_level(text: Optional[str]) -> str:
    """Malformed means the default: nobody wants a model that does not start for that."""
    level = (text or "").strip().lower()
    return {"warn": "warning"}.get(level, level if level in LEVELS else "info")


def _concurrency(text: Optional[str]) -> Optional[int]:
    """Malformed means 1, as upstream has it; unset leaves it to the model's `@concurrent`."""
    if not text:
        return None
    return int(text) if text.isdigit() and int(text) > 0 else 1


def _limit(text: Optional[str]) -> Optional[float]:
    """Seconds; malformed or not more than 0 means none, as upstream has it."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number <= 1 << 31 else None


def _seconds(text: Optional[str], *, otherwise: float) -> float:
    """Malformed means the default."""
    try:
        number = float(text or "")
    except ValueError:
        return otherwise
    return number if 0 <= number <= 86_400 else otherwise


def _count(text: Optional[str], *, otherwise: int) -> int:
    """Malformed means the default."""
    return min(int(text), 1 << 20) if text and text.isdigit() and text.isascii() and len(text) < 10 else otherwise
