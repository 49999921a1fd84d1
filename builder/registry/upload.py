"""One blob into one repository: asked for first, mounted where possible, sent in one piece or in chunks, resumed.

Nothing counts as sent before the registry has named its digest.  The rules are the distribution spec's, 1.1.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from builder.errors import RegistryError
from builder.fetch import TIMEOUT
from builder.frozen import frozen
from builder.registry import hosts
from builder.registry.answers import PASSING, in_words, may_pass, read_whole, retry_after
from builder.registry.client import Client
from builder.registry.sources import Part, Readable

if TYPE_CHECKING:
    import requests

Outcome: TypeAlias = Literal["present", "mounted", "sent"]

_OCTETS = "application/octet-stream"
_LEAST_CHUNK = 1 << 20
_SLOWEST = 10_000_000
"""Bytes a second that a registry's storage is thought to move at least."""
_GONE = {400, 404, 410, 416}
"""Answers to a request for an upload's state that mean: there is no such upload any more."""
_NO_CHUNKS = {405, 501}
"""Answers to a chunk that mean: not in this way."""


@frozen
class Limits:
    """How blobs are cut, in bytes: those of at least `threshold` go in chunks of `chunk`, others in one piece."""

    chunk: int = 96 << 20
    threshold: int = 128 << 20


@frozen
class Blob:
    """A blob to be sent; `open` gives `count` bytes of it from `start` on."""

    digest: str
    size: int
    label: str
    open: Callable[[int, int], Readable]


class Memory(Protocol):
    """Remembers the address of an unfinished upload, also for the next process."""

    def get(self, digest: str) -> str:
        """The address, with ` LEAST-MOST` of its chunks if they have bounds; or an empty text."""

    def set(self, digest: str, location: str) -> None:
        """Remember; an empty text forgets."""


def upload(
    blob: Blob,
    *,
    client: Client,
    memory: Memory,
    limits: Limits,
    mount: str | None,
    advance: Callable[[int], None],
) -> Outcome:
    """See that the repository has the blob.  `mount` names another repository of the registry that may have it.

    `advance` is told the bytes that are there.  `RegistryError` when the registry does not take it.
    """
    if has_blob(client, digest=blob.digest):
        advance(blob.size)
        return "present"
    outcome = _Upload(blob, client=client, memory=memory, limits=limits, mount=mount, advance=advance).run()
    advance(blob.size)
    return outcome


def has_blob(client: Client, *, digest: str) -> bool:
    """Whether the repository has the blob."""
    return client.has(f"blobs/{digest}", what=f"the blob `{digest[:19]}`")


@dataclasses.dataclass(eq=False)
class _Broken(Exception):  # noqa: N818
    """An attempt that may go better the next time; `error` is what is said when there is none."""

    error: RegistryError
    wait: float = 0.0


class _Upload:
    def __init__(
        self,
        blob: Blob,
        *,
        client: Client,
        memory: Memory,
        limits: Limits,
        mount: str | None,
        advance: Callable[[int], None],
    ) -> None:
        self._blob = blob
        self._client = client
        self._memory = memory
        self._advance = advance
        self._mount = mount
        self._chunk = limits.chunk
        self._threshold = limits.threshold
        self._what = f"`{blob.label}`"
        self._bounds = (0, 0)
        self._location, _, bounds = memory.get(blob.digest).partition(" ")
        if re.fullmatch(r"[0-9]+-[0-9]+", bounds):
            self._cut(*map(int, bounds.split("-")))
        self._offset = 0
        self._remembered = self._unsure = bool(self._location)
        self._put_once = False
        self._refusals = 0
        host = hosts.host_of(client.registry)
        if host is not None and host.whole:
            self._in_one_piece()

    def run(self) -> Outcome:
        """Attempts, until one succeeds or too many in a row have brought nothing."""
        left = list(self._client.access.pauses)
        furthest = 0
        while True:
            try:
                return self._attempt()
            except _Broken as problem:
                self._unsure = True
                if self._offset > furthest:
                    furthest = self._offset
                    left = list(self._client.access.pauses)
                if not left:
                    raise problem.error from problem
                if self._client.access.stop.wait(max(left.pop(0), problem.wait)):
                    raise RegistryError("gave up", hint="another part failed first: see its error") from problem

    def _attempt(self) -> Outcome:
        if self._unsure and self._look():
            return "sent"
        if not self._location and self._begin():
            return "mounted"
        while self._offset < self._blob.size and (self._offset or self._blob.size >= self._threshold):
            self._patch()
        self._put()
        return "sent"

    def _look(self) -> bool:
        """Find out where the registry is after a broken attempt; true if it has the whole blob."""
        if self._put_once and has_blob(self._client, digest=self._blob.digest):
            self._forget()
            return True
        if self._location:
            self._resume()
        self._advance(self._offset)
        self._unsure = False
        return False

    def _resume(self) -> None:
        """Ask how much of the upload has arrived; one that is not there any more is forgotten."""
        try:
            response = self._send("GET", self._location)
        except (_Broken, RegistryError):
            if not self._remembered:
                raise
            self._forget()  # of an earlier push: the registry may have moved since
            return
        reached = _reached(response)
        if response.status_code == 204 and reached is not None and reached <= self._blob.size:
            self._offset = reached
            self._moved(response)
        elif response.status_code in _GONE or response.status_code == 204 or self._remembered:
            self._forget()
        else:
            raise self._refused(response)
        self._remembered = False

    def _begin(self) -> bool:
        """Open an upload; true if the registry mounts the blob instead."""
        digest, other = self._blob.digest, self._mount
        url = self._client.url("blobs/uploads/")
        response: requests.Response | None = None
        if other:
            self._mount = None  # once: a registry that refuses need not be asked again
            scope = f"repository:{other}:pull"
            try:
                response = self._send("POST", f"{url}?mount={digest}&from={other}", scopes=(scope,), headers=_EMPTY)
            except RegistryError:  # no token for both
                response = None
            if response is not None and response.status_code == 201:
                return True
        if response is None or response.status_code != 202:
            response = self._send("POST", url, headers=_EMPTY)
        if response.status_code != 202:
            raise self._refused(response)
        least, most = (_length(response, f"OCI-Chunk-{name}-Length") for name in ("Min", "Max"))
        self._cut(least, min(filter(None, (most, self._bounds[1])), default=0))
        self._offset = 0
        self._moved(response)
        return False

    def _cut(self, least: int, most: int) -> None:
        """Chunks of bytes within these bounds from now on; 0 is none."""
        self._bounds = (least, most)
        if most:
            self._chunk = min(self._chunk, most)
            self._threshold = min(self._threshold, most + 1)
        if least and (not most or least <= most):
            self._chunk = max(self._chunk, least)

    def _patch(self) -> None:
        end = min(self._offset + self._chunk, self._blob.size)
        part = self._part(self._offset, end)
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._offset}-{end - 1}"}
        response = self._send("PATCH", self._location, headers=headers, part=part)
        if response.status_code == 413 and self._chunk > _LEAST_CHUNK:
            self._smaller(response)
        if response.status_code in _GONE | _NO_CHUNKS:
            self._refusals += 1
            if self._refusals > 2 or response.status_code in _NO_CHUNKS:
                self._in_one_piece()
            raise _Broken(self._refused(response))
        if response.status_code not in (201, 202, 204):
            raise self._refused(response)
        reached, before = _reached(response), self._offset
        self._offset = end if reached is None or reached > self._blob.size else reached
        if self._offset <= before:  # else this would go on for ever
            self._in_one_piece()
            brief = f"`{self._client.registry}` takes chunks of {self._what} and says that nothing more has come"
            raise _Broken(RegistryError(brief, hint="push again; if it says so again, tell who runs it"))
        self._moved(response)
        self._advance(self._offset)

    def _put(self) -> None:
        blob = self._blob
        part = None
        headers = {"Content-Type": _OCTETS}
        if self._offset < blob.size:
            part = self._part(0, blob.size)
        else:
            headers |= _EMPTY
        self._put_once = True
        separator = "&" if "?" in self._location else "?"
        url = f"{self._location}{separator}digest={blob.digest}"
        # Registries hash or move the whole blob before they answer.
        patience = TIMEOUT[1] + blob.size / _SLOWEST
        response = self._send("PUT", url, headers=headers, part=part, patience=patience)
        if response.status_code == 413 and blob.size > _LEAST_CHUNK:
            self._smaller(response)
        if response.status_code in _GONE:
            # The session is gone, or what came over is not what was sent: from the beginning.
            self._forget()
            raise _Broken(self._refused(response))
        if response.status_code not in (201, 202, 204):
            raise self._refused(response)
        said = response.headers.get("Docker-Content-Digest", "")
        if said and said != blob.digest:
            self._forget()
            raise _Broken(
                RegistryError(
                    f"`{self._client.registry}` took {self._what} for another blob",
                    details=f"sent   {blob.digest}\nstored {said}",
                    hint="something between here and the registry changes what is sent: try another way to it",
                )
            )
        if not said and not has_blob(self._client, digest=blob.digest):
            raise _Broken(
                RegistryError(
                    f"`{self._client.registry}` took {self._what} and does not have it", hint="push again in a while"
                )
            )
        self._forget()

    def _send(self, method: str, url: str, *, part: Part | None = None, **options: Any) -> requests.Response:
        """A request; what may pass is `_Broken`."""
        try:
            response = self._client.request(method, url, body=part, stream=True, **options)
            read_whole(response, what=f"the answer about {self._what}")  # here, where a broken connection is explained
        except OSError as problem:
            error = in_words(problem, brief=f"could not push {self._what} to `{self._client.registry}`")
            if may_pass(problem):
                raise _Broken(error) from problem
            raise error from problem
        finally:
            if part is not None:
                part.close()
        if response.status_code in PASSING:
            raise _Broken(self._refused(response), wait=retry_after(response))
        return response

    def _part(self, start: int, end: int) -> Part:
        def advance(done: int) -> None:
            if self._client.access.stop.is_set():
                raise RegistryError("gave up", hint="another part failed first: see its error")
            self._advance(done)

        return Part(self._blob, start=start, end=end, advance=advance)

    def _smaller(self, response: requests.Response) -> None:
        """Something on the way limits bodies: smaller chunks from now on."""
        self._cut(0, max(_LEAST_CHUNK, min(self._chunk, self._blob.size) // 4))
        self._threshold = 0
        if not self._offset:  # else what has arrived is still there
            self._forget()
        raise _Broken(self._refused(response))

    def _in_one_piece(self) -> None:
        """Some take no chunks, or one alone, whatever the spec says (Google's): one request from now on."""
        if self._location:
            self._forget()
        self._threshold = self._blob.size + 1

    def _refused(self, response: requests.Response) -> RegistryError:
        return self._client.refused(response, what=self._what, do="push")

    def _moved(self, response: requests.Response) -> None:
        location = response.headers.get("Location", "")
        if location:
            self._location = self._client.absolute(location, at=response.url)
        if not self._location:
            raise RegistryError(
                f"`{self._client.registry}` opened an upload without saying where",
                hint="it does not follow the distribution spec, or a proxy drops the `Location` header",
            )
        if self._blob.size >= self._threshold:
            bounds = " {}-{}".format(*self._bounds) if any(self._bounds) else ""
            self._memory.set(self._blob.digest, self._location + bounds)

    def _forget(self) -> None:
        if self._location and self._blob.size >= self._threshold:
            self._memory.set(self._blob.digest, "")
        self._location = ""
        self._offset = 0
        self._remembered = False


_EMPTY = {"Content-Length": "0"}


def _reached(response: requests.Response) -> int | None:
    """The bytes a registry says it has of an upload: `Range: 0-N`, N inclusive; none of a size of 0 or 1 is told."""
    match = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("Range", "").strip())
    if match is None:
        return None
    last = int(match[1])
    return last + 1 if last else 0


def _length(response: requests.Response, name: str) -> int:
    text = response.headers.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else 0
