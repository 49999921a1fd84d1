"""A Kubernetes Job that builds an emitted folder with Kaniko and pushes the image.

Source of the rules: Kubernetes 1.25 and later; Kaniko's own flags.  Never `--reproducible` (it rewrites the base) nor
`--use-new-run` (it loses deletions).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from builder.emit.files import Emitted, sealed, text
from builder.emit.words import templates
from builder.errors import ConfigError
from builder.frozen import frozen

KANIKO_IMAGE = "ghcr.io/osscontainertools/kaniko:v1.28.3"
"""The build of Kaniko that has secrets and here-documents; Google's and Chainguard's are unmaintained."""

CONFIG_MAP_MAX = 1 << 20
"""Bytes that a ConfigMap can hold."""

ARGUMENT_MAX = 120_000
"""Bytes of one argument that Linux takes, about."""

REMOTE = ("git://", "https://", "s3://", "gs://")
"""Contexts that Kaniko fetches by itself."""

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP", "SETGID", "SETUID")
"""What unpacking an image, dpkg and adduser need; without `DAC_OVERRIDE` Kaniko can push a broken image unawares."""


@frozen
class Job:
    """What shapes the Job.

    `context` is one of `configmap`, `pvc:CLAIM[/FOLDER]`, or an address that Kaniko knows (`REMOTE`).  `bytes` is what
    the image's packages weigh compressed: the room on disk follows from it.
    """

    name: str
    platform: str
    destinations: tuple[str, ...]
    context: str
    bytes: int
    version: str
    kaniko_image: str = KANIKO_IMAGE
    registry_secret: str = "registry-credentials"  # noqa: S105  a name
    build_secret: str = "build-secrets"  # noqa: S105  a name
    secrets: tuple[str, ...] = ()
    """Ids of the secrets of `build.run`."""
    labels: tuple[tuple[str, str], ...] = ()
    """Those that Kaniko is told by flags (`context.odd_labels`)."""
    namespace: str | None = None
    cache_repo: str | None = None


def job(spec: Job, *, archive: bytes | None = None) -> list[Emitted]:
    """`job.yaml` and a README; with `archive`, the folder as a gzipped tar, the Job brings it along."""
    claim, folder = "", ""
    if spec.context.startswith("pvc:"):
        claim, _, folder = spec.context.removeprefix("pvc:").partition("/")
        if not _is_name(claim):
            raise ConfigError(f"`{claim}` cannot be the name of a claim", hint="`--context pvc:CLAIM/FOLDER`")
    elif spec.context == "configmap":
        assert archive is not None
        if len(archive) > CONFIG_MAP_MAX - 4096:
            raise ConfigError(
                f"the folder takes {len(archive) >> 10} KiB; a ConfigMap holds 1 MiB at most",
                hint="put the folder elsewhere: `--context pvc:CLAIM/FOLDER`, `s3://`, `gs://`, `git://`, or take the "
                "base from a registry: `--from-image IMAGE@DIGEST`",
            )
    elif not spec.context.startswith(REMOTE):
        raise ConfigError(
            f"Kaniko knows no context like `{spec.context}`",
            hint=f"`configmap`, `pvc:CLAIM/FOLDER`, or an address with {', '.join(REMOTE)}",
        )
    values = {
        "job": spec,
        "name": resource_name(spec.name),
        "os": spec.platform.partition("/")[0],
        "architecture": spec.platform.partition("/")[2],
        "arguments": [word.replace("$(", "$$(") for word in _arguments(spec)],  # a reference, to Kubernetes
        "claim": claim,
        "folder": folder,
        "archive": base64.b64encode(archive).decode() if archive and spec.context == "configmap" else None,
        "capabilities": list(CAPABILITIES),
        "disk": f"{max(4, 2 + (6 * spec.bytes >> 30))}Gi",
    }
    render = templates().get_template
    return [
        text("job.yaml", sealed(render("kubernetes/job.j2").render(values), comment="#")),
        text("README.md", render("kubernetes/readme.j2").render(values)),
    ]


def resource_name(name: str) -> str:
    """A name of Kubernetes' (RFC 1123) that follows from an image's."""
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50].strip("-")
    return f"build-{made}" if made else "build"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", text) is not None


def _arguments(spec: Job) -> Sequence[str]:
    if spec.context == "configmap":
        place = "tar:///context/context.tar.gz"
    elif spec.context.startswith("pvc:"):
        place = "dir:///workspace"
    else:
        place = spec.context
    return [
        f"--context={place}",
        "--dockerfile=Containerfile.kaniko",
        *(f"--destination={name}" for name in spec.destinations),
        f"--custom-platform={spec.platform}",
        "--snapshot-mode=full",
        "--compressed-caching=false",
        "--digest-file=/dev/termination-log",
        *(f"--label={name}={value}" for name, value in spec.labels if len(value) < ARGUMENT_MAX),
        *([f"--cache-repo={spec.cache_repo}", "--cache=true"] if spec.cache_repo else []),
        *(f"--secret=id={name},type=file,src=/run/build-secrets/{name}" for name in spec.secrets),
    ]
