"""An image for the tests of podman: its command is a stand-in for the prediction server, its programs the host's."""

from __future__ import annotations

from builder.oci import CONFIG, MANIFEST, document
from builder.store import Store, StoredImage

from .images import member, put_layer, system_layer, tar
from .servers import SERVER


def stored(store: Store) -> StoredImage:
    """The image, complete and named in the store."""
    layers = [put_layer(store, data) for data in (system_layer(), tar([member("server.py", SERVER.encode())]))]
    config = document(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Cmd": ["python3", "/server.py"],
                "WorkingDir": "/src",
                "Env": ["PATH=/usr/bin:/usr/sbin", "A=1"],
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        },
        media_type=CONFIG,
    )
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor.to_json(),
            "layers": [layer.descriptor.to_json() for layer in layers],
        },
        media_type=MANIFEST,
    )
    store.put(config.data)
    store.put(manifest.data)
    store.set_image("cog-podman-test", manifest.descriptor)
    made = store.image("cog-podman-test")
    assert made is not None
    return made
