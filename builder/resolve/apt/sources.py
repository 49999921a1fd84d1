"""apt's sources in an image, as sources.list(5) describes them, and the keys that each trusts.

Reads an image through `Image`; no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from builder.errors import ResolveError
from builder.frozen import frozen
from builder.resolve.apt.image import Image

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)")
_FINGERPRINT = re.compile(r"(?:0x)?([0-9A-Fa-f]{16,40})!?")


@frozen
class AptSource:
    """One archive: `suite` of `uri`.  A flat one has no components, and its suite is a path that ends with a slash."""

    uri: str
    suite: str
    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    """Empty: all that the image has."""
    keys: bytes = b""

    def is_for(self, architecture: str) -> bool:
        """Whether packages of `architecture` are taken from it."""
        return not self.architectures or architecture in self.architectures

    def or_those_of(self, other: AptSource) -> tuple[str, ...]:
        """The architectures of both, for an archive that two entries name."""
        both = (*self.architectures, *other.architectures)
        return tuple(dict.fromkeys(both)) if self.architectures and other.architectures else ()

    @property
    def flat(self) -> bool:
        """Whether the indexes lie at a path of their own, not below `dists`."""
        return self.suite.endswith("/")


def image_sources(image: Image) -> tuple[AptSource, ...]:
    """The archives that the image's apt would ask, each once, in its order.

    Left out: sources of source packages, disabled ones, and those of other schemes than http and https.
    """
    found: dict[tuple[str, str], AptSource] = {}
    for path in _files(image):
        text = (image.read(path) or b"").decode("utf-8", errors="replace")
        for fields in _deb822(text) if path.endswith(".sources") else _one_line(text):
            for uri in fields.get("uris", "").split():
                if urlsplit(uri).scheme not in ("http", "https"):
                    continue
                for suite in fields.get("suites", "").split():
                    source = _source(uri, suite, fields=fields, image=image)
                    known = found.get((source.uri, suite))
                    if known is not None:  # several entries of one archive: apt takes all their components
                        both = tuple(dict.fromkeys((*known.components, *source.components)))
                        source = AptSource(
                            uri=known.uri, suite=suite, components=both, architectures=known.or_those_of(source),
                            keys=known.keys + source.keys,
                        )  # fmt: skip
                    found[source.uri, suite] = source
    return tuple(found.values())


def _files(image: Image) -> Iterator[str]:
    yield "etc/apt/sources.list"
    for name in image.names("etc/apt/sources.list.d"):
        if name.endswith((".list", ".sources")):
            yield f"etc/apt/sources.list.d/{name}"


def _source(uri: str, suite: str, *, fields: Mapping[str, str], image: Image) -> AptSource:
    return AptSource(
        uri=uri.rstrip("/"),
        suite=suite,
        components=() if suite.endswith("/") else tuple(fields.get("components", "").split()),
        architectures=tuple(re.split(r"[\s,]+", fields["architectures"])) if fields.get("architectures") else (),
        keys=_keys(fields.get("signed-by", ""), image=image),
    )


def _keys(signed_by: str, *, image: Image) -> bytes:
    """The certificates (binary OpenPGP) that may sign: those that the source names, else all that apt trusts."""
    if "BEGIN PGP" in signed_by:
        lines = [line.strip() for line in signed_by.splitlines()]
        return _binary("\n".join("" if line == "." else line for line in lines).encode(), where="a source")
    paths = [word for word in re.split(r"[\s,]+", signed_by) if word.startswith("/")]
    wanted = {found[1].lower() for word in re.split(r"[\s,]+", signed_by) if (found := _FINGERPRINT.fullmatch(word))}
    if not paths:
        trusted = image.names("etc/apt/trusted.gpg.d")
        paths = ["/etc/apt/trusted.gpg", *(f"/etc/apt/trusted.gpg.d/{name}" for name in trusted)]
        paths = [path for path in paths if path.endswith((".gpg", ".asc"))]
    data = b"".join(
        _binary(content, where=path) for path in paths if (content := image.read(path.lstrip("/"))) is not None
    )
    return _only(data, wanted) if wanted else data


def _binary(data: bytes, *, where: str) -> bytes:
    import pysequoia

    if not data.strip():
        return b""
    try:
        return b"".join(bytes(cert) for cert in pysequoia.Cert.split_bytes(data))
    except Exception as problem:
        raise ResolveError(
            f"the keys in `{where}` of the base image cannot be read: {problem}", hint="take another base image"
        ) from problem


def _only(data: bytes, fingerprints: set[str]) -> bytes:
    import pysequoia

    certs = pysequoia.Cert.split_bytes(data) if data else []
    return b"".join(bytes(cert) for cert in certs if any(cert.fingerprint.endswith(end) for end in fingerprints))


def _one_line(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        found = _ONE_LINE.match(line.strip())
        if found is None:
            continue
        options = dict(part.partition("=")[::2] for part in (found["options"] or "").split())
        yield {
            "uris": found["uri"],
            "suites": found["suite"],
            "components": found["components"],
            "architectures": options.get("arch", ""),
            "signed-by": options.get("signed-by", ""),
        }


def _deb822(text: str) -> Iterator[dict[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*(?:\n[ \t]*)*\n", "\n".join(lines) + "\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        if "deb" in fields.get("types", "").split() and enabled:
            yield fields
