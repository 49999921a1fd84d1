"""`InRelease` of a Debian suite: whose signature it bears, what it says, which indexes it vouches for.  No network.

Signatures are checked by Sequoia against the archive keys that this program carries (`builder/data`).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.resources
import re

import pysequoia

from builder.errors import ResolveError

OTHER_MIRROR = "try again later, or name another mirror in COGSMITH_DEBIAN_MIRROR: this one is damaged or being updated"

_SNAPSHOT = re.compile(r"/\d{8}T\d{6}Z/")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """A file that a release vouches for; `path` is relative to the release's folder on the mirror."""

    path: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a signed `InRelease` says, as far as it matters here."""

    codename: str
    suite: str
    fields: dict[str, str]
    files: dict[str, IndexFile]

    @property
    def by_hash(self) -> bool:
        """Whether indexes can be had by their hash, so that an update of the mirror cannot come in between."""
        return self.fields.get("Acquire-By-Hash") == "yes"


def archive_keys() -> bytes:
    """The public keys of Debian's archive and security archive (package `debian-archive-keyring`)."""
    return (importlib.resources.files("builder") / "data" / "debian-archive-keyring.pgp").read_bytes()


def read_release(data: bytes, *, url: str, keys: bytes, now: dt.datetime | None = None, named: bool = True) -> Release:
    """Verify the clear signature of `data` by one of `keys` and read what was signed.

    `url` is named in errors.  With `now`, keys that have expired are not trusted, and a release past its
    `Valid-Until` is refused, unless `url` is that of a snapshot (a time stamp is part of its path).  One that need not
    be `named` may lack a code name.  Raises `ResolveError`.
    """
    fields = _fields(_verified(data, url=url, keys=keys, now=now))
    files: dict[str, IndexFile] = {}
    for line in fields.get("SHA256", "").splitlines():
        words = line.split()
        if len(words) == 3 and re.fullmatch("[0-9a-f]{64}", words[0]) and words[1].isdigit():
            files[words[2]] = IndexFile(path=words[2], size=int(words[1]), sha256=words[0])
    if (named and "Codename" not in fields) or not files:
        raise ResolveError(f"`{url}` is signed, but is no index of a Debian archive", hint=OTHER_MIRROR)
    until = fields.get("Valid-Until")
    if now is not None and until and _date(until, url=url) < now and not _SNAPSHOT.search(url):
        raise ResolveError(
            f"`{url}` is valid until {until} only",
            hint="the mirror is no longer updated: use another one, or check this machine's clock",
        )
    return Release(codename=fields.get("Codename", ""), suite=fields.get("Suite", ""), fields=fields, files=files)


def check_suite(release: Release, *, wanted: str, url: str) -> None:
    """Refuse a genuine release of something else (another suite's file served in place of this one's)."""
    # `buster/updates`, as security updates were called, is the release `buster`.
    if not {wanted, wanted.partition("/")[0]} & {release.codename, release.suite}:
        raise ResolveError(
            f"`{url}` is the release `{release.codename}`, not `{wanted}`",
            hint="the mirror serves the wrong files: use another one",
        )


def _verified(data: bytes, *, url: str, keys: bytes, now: dt.datetime | None) -> str:
    certs = pysequoia.Cert.split_bytes(keys)
    signers: list[str] = []

    def candidates(ids: list[str]) -> list[pysequoia.Cert]:
        signers.extend(ids)
        return certs

    try:
        result = pysequoia.verify(data, store=candidates)
    except Exception as problem:
        known = "\n".join(f"trusted: {cert.fingerprint.upper()}{_expiry(cert)}" for cert in certs)
        made = "\n".join(f"signed by: {key.upper()}" for key in signers) or "no signature"
        raise ResolveError(
            f"the signature of `{url}` is not one of Debian's archive keys",
            details=f"{made}\n{known}\n{str(problem).partition(chr(10))[0]}",
            hint="the mirror or something on the way to it changed the file, or this version of the program is too old "
            "to know the archive's newest key",
        ) from problem
    # Sequoia asks whether a key was valid when it signed; a stolen one would say that it did so in time.
    ends = {cert.fingerprint: cert.expiration for cert in certs}
    last = [ends.get(signature.certificate) for signature in result.valid_sigs]
    if now is not None and last and all(end is not None and end < now for end in last):
        raise ResolveError(
            f"the archive keys that signed `{url}` have expired",
            details="\n".join(f"expired on {end:%Y-%m-%d}" for end in last if end),
            hint="use a newer version of this program, which knows the archive's newer keys, or check the clock",
        )
    if not last or result.bytes is None:
        raise ResolveError(f"`{url}` bears no valid signature", hint=OTHER_MIRROR)
    return result.bytes.decode("utf-8", errors="replace")


def _expiry(cert: pysequoia.Cert) -> str:
    return f" (until {cert.expiration:%Y-%m-%d})" if cert.expiration else ""


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith((" ", "\t")):
            fields[name] = fields.get(name, "") + "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _date(text: str, *, url: str) -> dt.datetime:
    try:
        moment = dt.datetime.strptime(text, "%a, %d %b %Y %H:%M:%S %Z")
    except ValueError:
        raise ResolveError(f"`{url}` has a date that is none: `{text}`", hint=OTHER_MIRROR) from None
    return moment.replace(tzinfo=dt.UTC)
