"""Packed layers → configuration, manifest, image in the store.  The same for every backend."""

from __future__ import annotations

from collections.abc import Sequence

from builder import oci
from builder.oci import Descriptor, PackedLayer
from builder.plan import Plan, title
from builder.store import Store, StoredImage


def index(images: Sequence[StoredImage], *, store: Store, name: str) -> Descriptor:
    """Let `name` stand for all of these images, in this order; the index's descriptor."""
    made = oci.image_index([(one.descriptor, one.platform) for one in images])
    store.put(made.data)
    store.set_image(name, made.descriptor)
    return made.descriptor


def image(plan: Plan, *, layers: Sequence[PackedLayer], store: Store, name: str) -> StoredImage:
    """Write the two documents over `layers` (in image order, one for each layer of the plan) and name the image."""
    config = oci.image_config(
        plan.config,
        platform=plan.platform,
        epoch=plan.epoch,
        layers=layers,
        comments=[title(layer) for layer in plan.layers],
    )
    manifest = oci.image_manifest(config.descriptor, layers=layers, annotations=plan.config.annotations)
    store.put(config.data)
    store.put(manifest.data)
    store.set_image(name, manifest.descriptor)
    stored = store.image(name)
    assert stored is not None
    return stored
