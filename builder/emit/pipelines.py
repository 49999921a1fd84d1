"""CI files: GitLab's and GitHub's, that build and push with Cogsmith itself, or with Kaniko what Cogsmith emits there.

Source of the rules: GitLab's "CI/CD YAML syntax reference", GitHub's "Workflow syntax".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from builder.emit.files import Emitted, sealed, text
from builder.emit.kubernetes import KANIKO_IMAGE
from builder.emit.words import templates
from builder.frozen import frozen

Builder: TypeAlias = Literal["cogsmith", "kaniko"]
System: TypeAlias = Literal["gitlab", "github"]
PLACES: dict[System, str] = {"gitlab": ".gitlab-ci.yml", "github": ".github/workflows/image.yml"}

TAKEN = frozenset({"HOME", "IFS", "IMAGE", "PATH", "SHELL", "USER"})
TAKEN_PREFIXES = (
    "CI_",
    "COGSMITH_",
    "DOCKER_",
    "GITHUB_",
    "GITLAB_",
    "LD_",
    "PIP_",
    "PYTHON",
    "REGISTRY_",
    "RUNNER_",
    "XDG_",
)
"""Variables that mean something to the systems, or to the programs there; GitHub lets nobody set `GITHUB_...`."""


@frozen
class Pipeline:
    """What shapes a CI file.

    `destination` empty: the registry that the system brings.  `install` is what pip installs; `executes` says whether
    Cogsmith runs commands there, `secrets` which secrets they read.
    """

    builder: Builder
    install: str
    platform: str
    destination: str = ""
    folder: str = "."
    """Of the project, in the repository."""
    executes: bool = False
    secrets: tuple[str, ...] = ()
    kaniko_image: str = KANIKO_IMAGE


def pipeline(system: System, spec: Pipeline) -> Emitted:
    """The file of `system`, in the place where it looks for it."""
    image, colon, tag = spec.kaniko_image.rpartition(":")
    plain = not colon or "/" in tag or "@" in spec.kaniko_image or tag.endswith("debug")
    debug = spec.kaniko_image if plain else f"{image}:{'' if tag == 'latest' else tag + '-'}debug"
    values = {
        "spec": spec,
        "kaniko_debug": debug,
        "secrets": list(variables(spec.secrets).items()),
        "host": spec.destination.partition("/")[0],
    }
    content = templates().get_template(f"ci/{system}.j2").render(values)
    return text(PLACES[system], sealed(content, comment="#"))


def variables(secrets: Sequence[str]) -> dict[str, str]:
    """The variable of each secret, a different one for each: `a-b` and `a.b` are numbered."""
    found: dict[str, str] = {}
    for secret in secrets:
        names = (variable(secret) + (f"_{number}" if number > 1 else "") for number in itertools.count(1))
        found[secret] = next(name for name in names if name not in found.values())
    return found


def variable(secret: str) -> str:
    """The name of the variable of a CI system that holds a secret of `build.run`."""
    made = re.sub(r"[^A-Z0-9]+", "_", secret.upper()).strip("_")
    if made in TAKEN or made.startswith(TAKEN_PREFIXES):
        return f"BUILD_{made}"
    return f"_{made}" if made[:1].isdigit() or not made else made
