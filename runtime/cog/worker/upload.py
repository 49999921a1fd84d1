"""Sends the files of an output to the server's `--upload-url`, several at a time, in order.  Standard library only."""

from __future__ import annotations

import base64
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
"""Seconds without progress after which an upload fails: as many as Cog's server waits."""

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

    That is the answer's `Location`, or the URL itself, without a query.  A user and password in `to` are sent as basic
    authentication and are in no answer.  OSError (of which `URLError` is one) or ValueError if one fails.
    """
    opener = urllib.request.build_opener(_HTTP, _HTTPS, _Elsewhere)
    one = functools.partial(_put, opener=opener, to=to)
    return in_parallel(one, files, most=PARALLEL_UPLOADS)


def _put(file: Upload, *, opener: Any, to: str) -> str:
    parts = urllib.parse.urlsplit(to)
    path = parts.path.rstrip("/") + "/" + urllib.parse.quote(file.name)
    user, at, host = parts.netloc.rpartition("@")
    url = urllib.parse.urlunsplit(parts._replace(netloc=host, path=path))
    headers = {
        "Content-Type": file.type,
        "Content-Length": str(os.path.getsize(file.path)),
        "User-Agent": os.environ.get("COG_USER_AGENT", "cogsmith"),
    }
    if at:
        credentials = urllib.parse.unquote(user) if ":" in user else f"{urllib.parse.unquote(user)}:"
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    with open(file.path, "rb") as body:
        request = urllib.request.Request(url, data=body, headers=headers, method="PUT")  # noqa: S310
        try:
            with opener.open(request, timeout=UPLOAD_TIMEOUT) as answer:
                location, url = answer.headers.get("Location"), str(answer.geturl())
        except urllib.error.HTTPError as problem:
            problem.close()
            raise OSError(f"upload returned status {problem.code} {problem.reason}".rstrip()) from None
        except http.client.HTTPException as problem:
            raise OSError(f"{type(problem).__name__} {problem}") from None
    found = urllib.parse.urlsplit(urllib.parse.urljoin(url, location) if location else url)
    return urllib.parse.urlunsplit(found._replace(query="", fragment=""))


class _Elsewhere(urllib.request.HTTPRedirectHandler):
    """Sends the file again where a 307 or 308 says (RFC 9110, 15.4.8); the others would make a GET of it: an error."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if code not in (307, 308):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        sent = dict(req.header_items())
        if _origin(newurl) != _origin(req.full_url):
            sent.pop("Authorization", None)
        sent.pop("Host", None)
        req.data.seek(0)
        return urllib.request.Request(newurl, data=req.data, headers=sent, method="PUT")  # noqa: S310

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # before CPython 3.11 there is none


def _origin(url: str) -> Any:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class _HTTP(urllib.request.HTTPHandler):
    """Sends larger blocks than the usual 8 KiB."""

    def http_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(http.client.HTTPConnection, blocksize=BLOCK), req)


class _HTTPS(urllib.request.HTTPSHandler):
    """The same."""

    def https_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(http.client.HTTPSConnection, blocksize=BLOCK), req)
