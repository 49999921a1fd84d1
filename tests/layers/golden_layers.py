"""One tiny layer of each kind, always the same: their digests are pinned in `test_golden.py`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from small_wheels import EPOCH

DATA = Path(__file__).parent / "data"
CODE = b"print('hello')\n"
LARGE = bytes(range(251)) * 800  # more than three stored blocks

Golden = tuple[dict[str, Any], dict[str, Path]]


def entry(path: str, data: bytes, *, mode: int = 0o644) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"path": path, "type": "file", "mode": mode, "size": len(data), "sha256": sha256, "target": ""}


def files(folder: Path) -> Golden:
    inputs = {}
    for data in (CODE, LARGE):
        sha256 = hashlib.sha256(data).hexdigest()
        inputs[sha256] = folder / sha256
        inputs[sha256].write_bytes(data)
    nothing = {"mode": 0, "size": 0, "sha256": "", "target": ""}
    spec = {
        "kind": "files",
        "role": "code",
        "root": "/src",
        "epoch": EPOCH,
        "reason": "",
        "entries": [
            entry("predict.py", CODE),
            entry("run.sh", CODE, mode=0o755),
            entry("large.bin", LARGE),
            entry("empty", b""),
            entry("sub/ünï.txt", CODE),
            nothing | {"path": "sub", "type": "dir", "mode": 0o755},
            nothing | {"path": "link", "type": "symlink", "target": "sub/../predict.py"},
        ],
        "generated": [{"path": ".cog/openapi_schema.json", "text": "{}", "mode": 0o644}],
    }
    return spec, inputs


def wheels(folder: Path) -> Golden:
    wheel, sha256 = _wheel()
    spec = {
        "kind": "wheels",
        "prefix": "/opt/venv",
        "python": "3.11",
        "epoch": EPOCH,
        "reason": "",
        "wheels": [wheel],
    }
    return spec, {sha256: DATA / wheel["filename"]}


def runtime(folder: Path) -> Golden:
    wheel, sha256 = _wheel()
    code = hashlib.sha256(CODE).hexdigest()
    (folder / code).write_bytes(CODE)
    spec = {
        "kind": "runtime",
        "root": "/opt/cogsmith",
        "venv": "/opt/venv",
        "interpreter": {"path": "/usr/bin/python3.11", "version": "3.11.2"},
        "version": "0.1.0",
        "epoch": EPOCH,
        "reason": "",
        "files": [entry("cog/__init__.py", CODE)],
        "generated": [{"path": "etc/cogsmith", "text": "generated\n", "mode": 0o600}],
        "wheels": [wheel],
    }
    return spec, {sha256: DATA / wheel["filename"], code: folder / code}


def _wheel() -> tuple[dict[str, Any], str]:
    path = DATA / "golden-1.0-py3-none-any.whl"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    return {"name": "golden", "version": "1.0", "filename": path.name, "size": size, "sha256": sha256}, sha256
