"""Images of the store for podman and buildah: handed over as they are, digest included, into their own storage.

A folder of links to our blobs is what they copy from (containers/image, transport `dir`), so nothing is written twice
before they unpack it.  Starts podman and buildah; imports no backend.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from builder import process
from builder.errors import BackendError
from builder.oci import CONFIG, MANIFEST, Document, PackedLayer, document
from builder.report import Report
from builder.store import Store, StoredImage

Program: TypeAlias = Literal["buildah", "podman", "docker"]
VERSION = "Directory Transport Version: 1.1\n"
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
"""What we hand over is known by its digest; the user's policy is for what comes from elsewhere."""
INSTALL = {
    "buildah": "`apt install buildah` (Debian, Ubuntu), `dnf install buildah` (Fedora)",
    "podman": "`apt install podman` (Debian, Ubuntu), `dnf install podman` (Fedora)",
    "docker": "see Docker's own pages; podman runs the same images without a daemon",
}


def write_folder(
    folder: Path, *, manifest: bytes, documents: Mapping[str, bytes], layers: Sequence[PackedLayer], store: Store
) -> None:
    """Fill `folder` as the transport `dir` wants it: `manifest`, the `documents` by digest, and links to `layers`."""
    folder.mkdir()
    (folder / "version").write_text(VERSION)
    (folder / "manifest.json").write_bytes(manifest)
    for digest, data in documents.items():
        (folder / digest.removeprefix("sha256:")).write_bytes(data)
    for layer in dict.fromkeys(layer.digest for layer in layers):
        (folder / layer.removeprefix("sha256:")).symlink_to(store.blob_path(layer))


def write_policy(path: Path) -> Path:
    """A signature policy that takes what it is given."""
    path.write_text(json.dumps(POLICY))
    return path


def bare_image(layers: Sequence[PackedLayer], *, platform: str) -> tuple[Document, Document]:
    """Configuration and manifest of an image that is its `layers` and nothing else: to run steps over."""
    system, _, architecture = platform.partition("/")
    config = document(
        {
            "architecture": architecture,
            "os": system,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        },
        media_type=CONFIG,
    )
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor.to_json(),
            "layers": [
                {"mediaType": _media_type(layer), "digest": layer.digest, "size": layer.size} for layer in layers
            ],
        },
        media_type=MANIFEST,
    )
    return config, manifest


def _media_type(layer: PackedLayer) -> str:
    """OCI's name, also for a layer of a base that has Docker's."""
    kind = next(
        (suffix for word, suffix in (("gzip", "+gzip"), ("zstd", "+zstd")) if layer.media_type.endswith(word)), ""
    )
    return f"application/vnd.oci.image.layer.v1.tar{kind}"


def local_name(name: str) -> str:
    """What podman and buildah call an image of the store: those without a registry are `localhost/`."""
    first = name.partition("/")[0]
    has_registry = "/" in name and ("." in first or ":" in first or first == "localhost")
    full = name if has_registry else f"localhost/{name}"
    return full if ":" in full.rpartition("/")[2] else f"{full}:latest"


def digests(program: Program, name: str) -> list[str]:
    """The manifest digests under which `program` knows the image of that name; empty if it has none."""
    if program == "podman":
        words = ["image", "inspect", "--format", "{{.Digest}}{{range .RepoDigests}} {{.}}{{end}}", name]
    elif program == "docker":
        words = ["image", "inspect", "--format", "{{.Id}}{{range .RepoDigests}} {{.}}{{end}}", name]
    else:
        words = ["images", "--format", "{{.Digest}}", "--no-trunc", "--filter", f"reference={name}"]
    code, told, _ = process.attempt([process.find(program, purpose="ask for its images"), *words])
    return [] if code else [word.rpartition("@")[2] for word in told.decode(errors="replace").split()]


def deliver(
    image: StoredImage,
    *,
    store: Store,
    program: Program,
    report: Report,
    fetch: Callable[[PackedLayer], None] | None = None,
) -> str:
    """Make sure that `program` (podman or buildah) has `image`, under its name, and return the name there.

    Nothing is copied where it has it already.  `fetch` brings layers of a foreign base into the store.  Raises
    `BackendError` when the program is absent, fails, or holds something else afterwards.
    """
    tool = process.find(program, purpose=f"hand the image to {program}", hint=f"install it: {INSTALL[program]}")
    name = local_name(image.name)
    if image.digest in digests(program, name):
        return name
    for layer in image.layers:
        if fetch is not None and not store.has_blob(layer.digest):
            fetch(layer)
    report.note(f"copying {image.name} to {program}")
    with store.scratch() as work:
        place = work / "image"
        config = str(image.manifest["config"]["digest"])
        write_folder(
            place,
            manifest=store.read_blob(image.digest),
            documents={config: store.read_blob(config)},
            layers=image.layers,
            store=store,
        )
        pull: list[str | Path] = [
            tool,
            "pull",
            "--quiet",
            "--signature-policy",
            write_policy(work / "policy.json"),
            f"dir:{place}",
        ]
        for _ in range(2):
            made = process.run(pull, purpose=f"copy the image to {program}").decode().split()[-1]
            process.run([tool, "tag", made, name], purpose=f"name the image in {program}")
            found = digests(program, name)
            if image.digest in found:
                return name
            # Layers in another form, under the same configuration, which is an image's identity there.
            process.attempt([tool, "rmi", name])
    raise BackendError(
        f"{program} has an image of the same content with other layers ({', '.join(dict.fromkeys(found))})",
        hint=f"it cannot hold both: remove that one (`{program} rmi {made[:12]}`), and try again",
    )
