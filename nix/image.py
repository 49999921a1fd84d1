"""Run in the Nix sandbox: an OCI layout over layers that are store paths, to `$out`."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Read `$specPath`; write configuration, manifest, index, and a relative link for each blob that is there."""
    env = dict(os.environ)
    spec = json.loads(Path(env["specPath"]).read_bytes())
    sys.path.insert(0, spec["source"])

    from builder import oci
    from builder.plan import ImageConfig, canonical_json

    out = Path(env["out"])
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, digest: str) -> None:
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)

    layers = []
    for entry in spec["layers"]:
        path = Path(entry["path"]) if "path" in entry else None
        about = entry
        if "digest" not in entry:
            about = json.loads((path / "packed.json").read_bytes())
            path = path / "layer"
        layer = oci.PackedLayer(
            digest=about["digest"],
            diff_id=about["diff_id"],
            size=about["size"],
            media_type=about.get("media_type") or oci.LAYER_MEDIA_TYPES[spec["compression"]],
        )
        layers.append(layer)
        link = blobs / layer.digest.removeprefix("sha256:")
        if path is not None and not link.is_symlink():
            link.symlink_to(f"../../../{path.relative_to(out.parent)}")
    config = oci.image_config(
        ImageConfig(**spec["config"]),
        platform=spec["platform"],
        epoch=spec["epoch"],
        layers=layers,
        comments=[entry["title"] for entry in spec["layers"]],
    )
    keep(config.data, config.descriptor.digest)
    annotations = spec["config"]["annotations"]
    manifest = oci.image_manifest(config.descriptor, layers=layers, annotations=annotations)
    keep(manifest.data, manifest.descriptor.digest)
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [manifest.descriptor.to_json()]}
    (out / "index.json").write_bytes(canonical_json(index))
    (out / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')


main()
