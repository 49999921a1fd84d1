"""Run in the Nix sandbox: a program `bin/push` that sends the image in `spec` to a registry, to `$out`."""

import json
import os
from pathlib import Path

PUSH = """#!/bin/sh
# Sends the image to a registry, with the digest that it has: by cogsmith, or by skopeo where that is what there is.
set -eu
if [ $# != 1 ]; then
    echo "usage: push REGISTRY/REPOSITORY[:TAG]" >&2
    exit 2
fi
if command -v cogsmith >/dev/null; then
    cogsmith image import --tag "$1" {image} >/dev/null
    exec cogsmith push --image "$1" "$1"
elif command -v skopeo >/dev/null; then
    exec skopeo copy --preserve-digests oci:{image} "docker://$1"
fi
echo "push: neither cogsmith nor skopeo is on PATH" >&2
exit 1
"""

env = dict(os.environ)
spec = json.loads(Path(env["specPath"]).read_bytes())
program = Path(env["out"], "bin", "push")
program.parent.mkdir(parents=True)
program.write_text(PUSH.format(image=spec["image"]))
program.chmod(0o755)
