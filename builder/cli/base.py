"""Layers of a foreign base that the store does not hold: brought when something must run or be exported."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from builder.cli.settings import Settings
from builder.errors import RegistryError, StoreError
from builder.oci import PackedLayer
from builder.report import Report
from builder.store import Store, StoredImage

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"


def base_layers(
    image: StoredImage, *, store: Store, settings: Settings, report: Report
) -> Callable[[PackedLayer], None]:
    """A function that brings a layer into the store that is not there: the base's from where the base came from, others
    from the repository that they were seen in last.
    """
    annotations = image.manifest.get("annotations") or {}
    return layers_of(annotations, name=image.name, store=store, settings=settings, report=report)


def layers_of(
    annotations: Mapping[str, str], *, name: str, store: Store, settings: Settings, report: Report
) -> Callable[[PackedLayer], None]:
    """`base_layers` by the annotations of an image that need not be there yet."""
    reference = annotations.get(BASE_NAME)
    lock = threading.Lock()

    def fetch(layer: PackedLayer) -> None:
        from builder.registry import known

        seen = known.repository_of(store, digest=layer.digest)
        if seen is not None:
            from builder.registry.client import Access
            from builder.registry.pull import pull_layers

            try:
                pull_layers(seen, layers=[layer], store=store, access=Access(env=settings.env), report=report)
            except RegistryError:
                if not reference:
                    raise
            else:
                return
        if not reference:
            raise StoreError(
                f"the layer `{layer.digest}` of `{name}` is not in the store", hint="build the image again"
            )
        from builder.resolve.base import fetch_base_layers
        from builder.resolve.project import BASE_PLACE

        place = Path(store.memo(BASE_PLACE, str(annotations.get(BASE_DIGEST))) or Path.cwd())
        with lock:
            fetch_base_layers(reference, layers=[layer], project=place, store=store, env=settings.env, report=report)

    return fetch
