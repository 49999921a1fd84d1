"""Sends the files of an output to the server's `--upload-url`, several at a time, in order.  Standard library only."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, List

from cog.worker.parallel import in_parallel

PARALLEL_UPLOADS = 8

UPLOAD_TIMEOUT = 25.0
"""Seconds without progress after which an upload fails (spec section 4.11)."""

BLOCK = 1 << 18
"""Bytes of a file that are sent at a time."""


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file, the name that it gets there, and its media type."""

    path: str
    name: str
    type: str


def upload(files: List[Upload], *, to: str) -> List[str]:
    """`PUT` each file below the URL `to`; where they are now, in the same order.

    That is the answer's `Location`, or the URL itself, without a query.  OSError (of which `URLError` is one) or
    ValueError if one fails.
    """
    opener = urllib.request.build_opener(_HTTP, _HTTPS)
    one = functools.partial(_put, opener=opener, to=to)
    return in_parallel(one, files, most=PARALLEL_UPLOADS)


def _put(file: Upload, *, opener: Any, to: str) -> str:
    parts = urllib.parse.urlsplit(to)
    path = parts.path.rstrip("/") + "/" + urllib.parse.quote(file.name)
    url = urllib.parse.urlunsplit(parts._replace(path=path))
    headers = {
        "Content-Type": file.type,
        "Content-Length": str(os.path.getsize(file.path)),
        "User-Agent": os.environ.get("COG_USER_AGENT", "cogsmith"),
    }
    with open(file.path, "rb") as body:
        request = urllib.request.Request(url, data=body, headers=headers, method="PUT")  # noqa: S310
        try:
            with opener.open(request, timeout=UPLOAD_TIMEOUT) as answer:
                location = answer.headers.get("Location")
        except urllib.error.HTTPError as problem:
            problem.close()
            raise OSError(f"upload returned status {problem.code} {problem.reason}".rstrip()) from None
        except http.client.HTTPException as problem:
            raise OSError(f"{type(problem).__name__} {problem}") from None
    found = urllib.parse.urlsplit(urllib.parse.urljoin(url, location) if location else url)
    return urllib.parse.urlunsplit(found._replace(query="", fragment=""))


class _HTTP(urllib.request.HTTPHandler):
    """Sends larger blocks than the usual 8 KiB."""

    def http_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(http.client.HTTPConnection, blocksize=BLOCK), req)


class _HTTPS(urllib.request.HTTPSHandler):
    """The same."""

    def https_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(http.client.HTTPSConnection, blocksize=BLOCK), req)
