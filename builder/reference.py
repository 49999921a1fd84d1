"""Image references, `[registry/]repository[:tag][@digest]`, as the distribution spec writes them.  No I/O."""

from __future__ import annotations

import dataclasses
import re

from builder.errors import ConfigError
from builder.frozen import frozen

DEFAULT_TAG = "latest"
DEFAULT_REGISTRY = "docker.io"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_HOST}(?::[0-9]+)?)/)?(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@frozen
class Reference:
    """A parsed reference.  `registry` is empty where none was written."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The reference without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    @property
    def tagged(self) -> str:
        """`name:tag`, the tag being `latest` where none was written: the key of an image in the store."""
        return f"{self.name}:{self.tag or DEFAULT_TAG}"

    @property
    def pointer(self) -> str:
        """What a registry is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or DEFAULT_TAG

    def pointer_to(self, digest: str) -> str:
        """What an image of that digest is pushed under: the tag, else the digest where one was written."""
        return self.tag or (digest if self.digest else DEFAULT_TAG)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse(text: str) -> Reference:
    """Read a reference; `ConfigError` if it is none.

    As everywhere, the first component is a registry if it holds a dot or a colon, or is `localhost`.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        lower = text.lower()
        raise ConfigError(
            f"`{text}` is not an image reference",
            details="it is written [registry/]repository[:tag][@sha256:...], the repository in lower case",
            hint=f"did you mean `{lower}`?" if lower != text and _REFERENCE.fullmatch(lower) else None,
        )
    registry, repository = match["registry"] or "", match["repository"]
    if registry and not _is_registry(registry):
        joined = f"{registry}/{repository}"
        if registry != registry.lower():
            raise ConfigError(
                f"`{text}` is not an image reference", details=f"the repository `{joined}` must be in lower case"
            )
        registry, repository = "", joined
    return Reference(registry=registry, repository=repository, tag=match["tag"] or "", digest=match["digest"] or "")


def normalised(reference: Reference) -> Reference:
    """The reference with its registry written out: `python` is `docker.io/library/python`."""
    registry = reference.registry or DEFAULT_REGISTRY
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = DEFAULT_REGISTRY
    repository = reference.repository
    if registry == DEFAULT_REGISTRY and repository and "/" not in repository:
        repository = f"library/{repository}"
    return dataclasses.replace(reference, registry=registry, repository=repository)


def _is_registry(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"
