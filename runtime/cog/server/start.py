"""Puts the pieces together and runs them.  The worker starts first: the model loads while the server's packages do."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from typing import Any, List, Mapping, Optional, Tuple

import cog
from cog.server.console import LEVELS, Console
from cog.server.init import become_init
from cog.server.process import WorkerProcess
from cog.server.settings import Settings, UsageError, parse

SCHEMA = ".cog/openapi_schema.json"
"""Where the image keeps the OpenAPI document, relative to the working directory."""


def start(argv: List[str], *, python: str, environment: Mapping[str, str]) -> int:
    """Serve until told to stop; the exit code.  `python` runs the worker."""
    try:
        settings = parse(argv, environment=environment)
    except UsageError as problem:
        sys.stderr.write(f"ERROR: {problem}\n")
        return 1
    if os.getpid() == 1:
        become_init()
    try:
        listener = _listen(settings)
    except OSError as problem:
        sys.stderr.write(f"ERROR: cannot listen on {settings.host} port {settings.port}: {problem.strerror}\n")
        return 1
    folder = tempfile.mkdtemp(prefix="cogsmith-")
    try:
        return _serve(settings, listener=listener, folder=folder, python=python, environment=environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(
    settings: Settings, *, listener: socket.socket, folder: str, python: str, environment: Mapping[str, str]
) -> int:
    sdk = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

    def spawn() -> WorkerProcess:
        return WorkerProcess(python=python, sdk=sdk, folder=folder, environment=environment)

    try:
        first = spawn()
    except OSError as problem:
        sys.stderr.write(f"ERROR: cannot start the worker: {problem}\n")
        return 1
    gc.disable()  # importing makes much and drops nothing
    from cog.server.app import make_app
    from cog.server.client import Client, environment_proxies
    from cog.server.lifecycle import run
    from cog.server.service import Service
    from cog.server.webhooks import Webhooks

    gc.freeze()
    gc.set_threshold(5_000, 10, 10)  # a request makes little that goes in circles
    gc.enable()
    console = Console(level=settings.log_level, form=settings.log_format)
    logging.basicConfig(handlers=[_ToConsole(console)], level=logging.WARNING)
    limit = environment.get("COG_SETUP_TIMEOUT", "")
    if settings.setup_timeout is None and limit not in ("", "0"):
        console.say(f"COG_SETUP_TIMEOUT is {limit[:40]!r}, which is no number of seconds: no limit", level="warning")
    document, parsed = _read_document(console)

    settings = dataclasses.replace(settings, version=settings.version or _version(settings.ref, document))
    service: Any = None

    def build(shut_down: Any) -> Any:
        nonlocal service
        service = Service(settings, spawn=spawn, folder=folder, console=console, first=first)
        agent = f"cogsmith/{cog.__version__}"
        client = Client(user_agent=agent, proxies=environment_proxies())
        webhooks = Webhooks(client, console=console, interval=settings.throttle, token=settings.webhook_token)
        return make_app(
            service, settings=settings, webhooks=webhooks, document=document, parsed=parsed, shut_down=shut_down
        )

    try:
        run(build, listener=listener, ignore=[signal.SIGTERM] if settings.await_explicit_shutdown else [])
    finally:
        first.kill()
        if service is not None:
            service.worker.kill("the server ends")
        console.close()
    return 0


class _ToConsole(logging.Handler):
    """What the libraries have to say, as lines of the server's own."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Of `logging.Handler`."""
        level = record.levelname.lower()
        self._console.say(self.format(record), level=level if level in LEVELS else "error")


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.listen(2048)
    return listener


def _read_document(console: Console) -> Tuple[Optional[bytes], Any]:
    try:
        with open(SCHEMA, "rb") as file:
            document = file.read()
        parsed = json.loads(document)
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError) as problem:
        console.say(f"{SCHEMA} cannot be read, inputs are not checked: {problem}", level="warning")
        return None, {}
    return (document, parsed) if isinstance(parsed, dict) else (None, {})


def _version(ref: str, document: Optional[bytes]) -> str:
    """A name for the model where nobody gave it one: the hash of its source file and of what it takes and gives."""
    import hashlib

    total = hashlib.sha256(document or b"")
    try:
        with open(ref.partition(":")[0], "rb") as file:
            total.update(file.read())
    except OSError:
        pass
    return total.hexdigest()
