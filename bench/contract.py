"""One digest of one real project, whoever runs its commands: `python bench/contract.py [--user smith]`.

The project has a layer of each kind that differs most easily: ffmpeg, libgl1 and git from Debian; a C program that a
command compiles; files of the base that go, change and come back; users; a command with a secret.  It is built on every
backend that is here, as root and as an ordinary user (`--user`), with `--no-cache` in a store of each user's own.
`COGSMITH_KANIKO_EXECUTOR` may name several executors, with `:` between them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder import sandbox

ROOT = Path(__file__).resolve().parents[1]
YAML = r"""build:
  python_version: "3.11"
  system_packages: [ffmpeg, libgl1, git, gcc, libc6-dev]
  run:
    - >-
      printf '#include <stdio.h>\nint main(void) { return puts("compiled") < 0; }' > /tmp/p.c
      && gcc -O2 -o /opt/p /tmp/p.c && /opt/p && rm /tmp/p.c
    - >-
      rm /etc/issue && rm -r /usr/share/doc/git && echo hello > /etc/motd
      && mv /etc/debian_version /etc/was && mkdir /etc/debian_version
    - groupadd -g 700 crew && useradd -m -u 1701 -g crew sailor && chmod 2770 /home/sailor && useradd --system other
    - command: >-
        test $(wc -c < /run/secrets/token) = 24 && git --version > /opt/version
        && ffmpeg -version | head -1 > /opt/ffmpeg
      mounts: [{type: secret, id: token, target: /run/secrets/token}]
run: "run.py:Runner"
"""
RUN = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self, a: str) -> str:\n        return a\n"


@dataclasses.dataclass(frozen=True)
class Way:
    """Who builds: options of `cogsmith build`, variables, and a user of this machine (none: this one)."""

    name: str
    options: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""


def ways(user: str) -> list[Way]:
    """The ways that there are on this machine."""
    found = [Way("embedded")]
    if shutil.which("buildah"):
        found.append(Way("buildah chroot", ("--backend", "buildah", "--isolation", "chroot")))
        found.append(Way("buildah oci", ("--backend", "buildah", "--isolation", "oci")))
    executors = filter(None, os.environ.get("COGSMITH_KANIKO_EXECUTOR", "").split(":"))
    found += [
        Way(f"kaniko {Path(path).name}", ("--backend", "kaniko"), (("COGSMITH_KANIKO_EXECUTOR", path),))
        for path in executors
    ]
    if user:
        found += [dataclasses.replace(way, name=f"{way.name}, as {user}", user=user) for way in found]
    return found


def build(way: Way, *, project: Path, home: Path) -> str:
    """The digest of the project's image; every command is run again, whatever the cache in `home` has."""
    words = [sys.executable, "-m", "builder.cli", "build", "-q", "--no-cache", "-t", "contract"]
    words += ["--secret", "id=token,env=TOKEN", *way.options]
    given = {
        "XDG_CACHE_HOME": str(home / "cache"), "XDG_RUNTIME_DIR": str(home), "HOME": str(home), "PYTHONPATH": str(ROOT),
        "TOKEN": "a-value-that-nobody-sees", **dict(way.env),
    }  # fmt: skip
    asked: Sequence[str] = words
    if way.user:
        subprocess.run(["chown", "-R", way.user, project], check=True)
        asked = ["runuser", "-u", way.user, "-w", ",".join(given), "--", *words]
    done = subprocess.run(asked, cwd=project, env={**os.environ, **given}, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr[-1500:]}"


def main() -> None:
    """Build on every way; exit code 1 if digests differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", default="", help="build as this ordinary user, too")
    given = parser.parse_args()
    digests = []
    with tempfile.TemporaryDirectory(prefix="cogsmith-bench-") as name:
        place = Path(name)
        place.chmod(0o755)
        project = place / "project"
        project.mkdir()
        (project / "cog.yaml").write_text(YAML)
        (project / "run.py").write_text(RUN)
        for way in ways(given.user):
            home = place / (way.user or "home")
            if not home.exists():
                home.mkdir(mode=0o700)
                if way.user:
                    shutil.chown(home, way.user)
            began = time.perf_counter()
            digests.append(build(way, project=project, home=home))
            print(f"{digests[-1]} {time.perf_counter() - began:6.0f} s {way.name}", flush=True)
        for home in {place / (way.user or "home") for way in ways(given.user)}:
            sandbox.remove_tree(home)
    sys.exit(0 if len(set(digests)) == 1 else 1)


if __name__ == "__main__":
    main()
