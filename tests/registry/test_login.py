"""Name and password, tried before they are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_registry import PASSWORD, USER, Server

from builder.errors import RegistryError
from builder.reference import Reference, normalised
from builder.registry.auth import Credentials
from builder.registry.client import Access
from builder.registry.login import verify_password


@pytest.mark.parametrize("kind", ["private", "bearer"])
def test_a_wrong_password(kind: str, request: pytest.FixtureRequest, home: Path) -> None:
    server: Server = request.getfixturevalue(kind)
    access = Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=())
    verify_password(Credentials(username=USER, password=PASSWORD), registry=server.host, access=access)
    with pytest.raises(RegistryError) as caught:
        verify_password(Credentials(username=USER, password="wrong"), registry=server.host, access=access)
    assert caught.value.brief == f"`{server.host}` does not know that name and password"
    assert str(caught.value.hint).startswith("check both")
    assert "who are you" in (caught.value.details or "who are you")  # the token server's own words


def test_a_registry_as_a_whole() -> None:
    assert normalised(Reference(registry="docker.io", repository="")).repository == ""
