"""A registry and a token server on loopback, as the tests see them; started in `registry/conftest.py`."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.store import Store

HTPASSWD = "smith:$2b$04$Ky2E2qt3onf43nl4U6u.5.i2.M6BSfA7n/8Q7O.l79iXvH4ZXMAiy\n"
USER, PASSWORD = "smith", "s3cret"


@dataclasses.dataclass(frozen=True)
class Server:
    """A registry: `host` is `127.0.0.1:PORT`."""

    host: str
    log: Path

    def push(self, source: Store, name: str, target: str, *options: str) -> None:
        """Put an image of a store into the registry, by skopeo."""
        if shutil.which("skopeo") is None:
            pytest.skip("skopeo is not installed")
        creds = ["--dest-creds", f"{USER}:{PASSWORD}"]
        argv = ["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", *creds, *options]
        argv += [f"oci:{source.root}:{name}", f"docker://{self.host}/{target}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@dataclasses.dataclass
class TokenServer:
    """What a token server was asked."""

    url: str
    asked: list[dict[str, list[str]]] = dataclasses.field(default_factory=list)
