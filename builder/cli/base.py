"""Layers of a foreign base that the store does not hold: brought when something must run or be exported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from builder.cli.settings import Settings
from builder.errors import StoreError
from builder.oci import PackedLayer
from builder.report import Report
from builder.store import Store, StoredImage

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"


def base_layers(
    image: StoredImage, *, store: Store, settings: Settings, report: Report
) -> Callable[[PackedLayer], None]:
    """A function that brings a layer of the image's base into the store, from where the base came from."""
    annotations = image.manifest.get("annotations") or {}
    reference = annotations.get(BASE_NAME)
    lock = threading.Lock()

    def fetch(layer: PackedLayer) -> None:
        if not reference:
            raise StoreError(
                f"the layer `{layer.digest}` of `{image.name}` is not in the store", hint="build the image again"
            )
        from builder.resolve.base import fetch_base_layers
        from builder.resolve.project import BASE_PLACE

        place = Path(store.memo(BASE_PLACE, str(annotations.get(BASE_DIGEST))) or Path.cwd())
        with lock:
            fetch_base_layers(reference, layers=[layer], project=place, store=store, env=settings.env, report=report)

    return fetch
