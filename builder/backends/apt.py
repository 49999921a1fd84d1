"""The installation of locked packages as a step: the image's own apt and dpkg, these files, and nothing else.

Every backend runs the same command in the same environment with the same files; that is why it leaves the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.plan import Deb, PackagesLayer

if TYPE_CHECKING:
    from builder.backends.steps import Step

DEBS_FOLDER = "/run/cogsmith/debs"
POLICY = "/usr/sbin/policy-rc.d"

_OPTIONS = (
    "APT::Sandbox::User=root",  # `_apt` could not read the files, and there is nothing to download
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    "Dir::Etc::sourcelist=/dev/null",  # of the image's own sources nothing is wanted
    "Dir::Etc::sourceparts=/dev/null",
    "Dpkg::Options::=--force-unsafe-io",  # a build that is cut short begins anew
    "Dpkg::Options::=--force-confdef",  # nobody is there to be asked about a configuration file:
    "Dpkg::Options::=--force-confold",  # one that the base changed stays as it is
    "Dpkg::Use-Pty=false",
)
_FLAGS = ("-qq", "--yes", "--no-install-recommends", "--allow-downgrades")

_PARTIAL = "/var/cache/apt/archives/partial"

INSTALL = "\n".join(
    [
        "set -e",
        "archives=$(mktemp -d -p /dev/shm)",
        'mkdir "$archives/partial"',
        f'ln -s {DEBS_FOLDER}/*.deb "$archives"',
        f"mkdir -p {_PARTIAL}",
        f"chmod 0700 {_PARTIAL}",
        "code=0",
        " ".join(
            [
                "apt-get",
                *_FLAGS,
                *(f"-o {option}" for option in _OPTIONS),
                '-o Dir::Cache::archives="$archives"',
                f"install {DEBS_FOLDER}/*.deb || code=$?",
            ]
        ),
        'rm -r "$archives"',
        "exit $code",
    ]
)
"""apt orders them, Pre-Depends and all.  The lock holds what is recommended, so nothing more need be looked for.

In a folder of archives that has them, apt takes them for downloaded, and need not compute four hashes of each.  It
wants to lock that folder.  Its usual one is made as it would have made it.
"""

ENV = (
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("TZ", "UTC0"),
)


def install_step(layer: PackagesLayer, *, inputs: Mapping[str, Path], work: Path) -> Step:
    """The step that installs the packages of `layer`; `inputs` has their files by hash, `work` is a folder of its own.

    No service is started (`policy-rc.d`, as in Debian's own images), and there is no network.
    """
    from builder.backends.steps import Given, Step

    policy = work / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    return Step(
        what="the installation of system packages",
        argv=("/bin/sh", "-c", INSTALL),
        shown=f"apt-get install {' '.join(layer.requested)} ({len(layer.debs)} packages)",
        env=(*ENV, ("SOURCE_DATE_EPOCH", str(layer.epoch))),
        network="none",
        files=(
            Given(target=DEBS_FOLDER, source=_folder_of(layer.debs, inputs=inputs, work=work)),
            Given(target=POLICY, source=policy),
        ),
    )


def deb_name(deb: Deb) -> str:
    """A file name that follows from the package alone, wherever it came from."""
    return f"{deb.package}_{deb.version.replace(':', '%3a')}_{deb.architecture}.deb"


def _folder_of(debs: Sequence[Deb], *, inputs: Mapping[str, Path], work: Path) -> Path:
    folder = work / "debs"
    folder.mkdir()
    folder.chmod(0o755)
    for deb in debs:
        name = folder / deb_name(deb)
        try:
            name.hardlink_to(inputs[deb.sha256])
        except OSError:
            shutil.copyfile(inputs[deb.sha256], name)
    return folder
