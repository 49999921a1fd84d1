"""What is said of a `cog.yaml` that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config import load
from builder.errors import ConfigError

PATH = Path("cog.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, path=PATH)
    return [line for line in (caught.value.details or "").splitlines() if not line.startswith("    ")]
