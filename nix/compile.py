"""Run in the Nix sandbox: the bytecode of all that `pack.py` and `image.py` import, to `$out`, for `pycache_prefix`."""

import importlib
import os
import sys

LIBRARY = (
    *("bz2", "concurrent.futures.thread", "importlib.metadata", "json", "lzma", "pathlib", "subprocess"),
    *("tarfile", "tempfile", "zipfile"),
)

env = dict(os.environ)
sys.pycache_prefix = env["out"]
sys.path.insert(0, env["source"])
for name in LIBRARY:
    importlib.import_module(name)
for folder, _, files in sorted(os.walk(os.path.join(env["source"], "builder"))):  # noqa: PTH118
    package = os.path.relpath(folder, env["source"]).replace(os.sep, ".")
    for file in sorted(files):
        if file.endswith(".py") and file != "compiling.py":  # which is for other versions of Python, too
            importlib.import_module(f"{package}.{file.removesuffix('.py')}".removesuffix(".__init__"))
