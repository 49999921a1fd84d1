"""`Path`, `File` and their lazily fetched forms.  Standard library only.

The network is touched on use, never on import.
"""

from __future__ import annotations

import io
import mimetypes
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any, BinaryIO, Iterator, Optional, Union

NAME_MAX = 200
"""Longest file name, in bytes, that is made from a URL."""

FETCH_TIMEOUT = 10.0
"""Seconds without an answer after which a download fails."""

_IN_URL = "!#$%&'()*+,/:;=?@[]~"
"""Characters of a path or a query that are sent as they are."""


class Path(pathlib.PosixPath):
    """A file handed to or returned by a model."""

    @classmethod
    def validate(cls, value: Any) -> pathlib.Path:
        """A path stays, an `http(s):` or `data:` URL becomes a `URLPath`, another string a path."""
        if isinstance(value, pathlib.Path):
            return value
        if str(value).lower().startswith(("http://", "https://", "data:")):
            return URLPath(source=str(value), filename=get_filename(str(value)), fileobj=File.validate(value))
        return cls(value)


class URLPath(pathlib.PosixPath):
    """A file behind a URL; `convert()` fetches it to a temporary file."""

    source: str

    def __new__(cls, *, source: str, filename: str, fileobj: Any) -> "URLPath":  # noqa: ARG004, D102, PYI034
        return super().__new__(cls, filename)

    def __init__(self, *, source: str, filename: str, fileobj: Any) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(filename)
        self.source = source
        self.filename = filename
        self.fileobj = fileobj
        self._converted: Optional[Path] = None

    def with_segments(self, *segments: Any) -> Path:
        """Paths derived from this one (`.parent`, `/`) are plain paths."""
        return Path(*segments)

    if sys.version_info < (3, 12):

        @classmethod
        def _from_parsed_parts(cls, *parts: Any) -> Any:
            return Path._from_parsed_parts(*parts)  # type: ignore[attr-defined]  # noqa: SLF001

    def convert(self, folder: Optional[str] = None) -> Path:
        """Fetch once, into a temporary file (of `folder`) whose name ends in the URL's."""
        if self._converted is None:
            with tempfile.NamedTemporaryFile(suffix=self.filename, dir=folder, delete=False) as file:
                try:
                    shutil.copyfileobj(self.fileobj, file)
                except BaseException:
                    os.unlink(file.name)
                    raise
            self._converted = Path(file.name)
        return self._converted

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the temporary file, if there is one."""
        if self._converted is not None:
            try:
                self._converted.unlink()
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def __str__(self) -> str:
        return self.source


class File(io.IOBase):
    """A file as an open stream (old; `Path` is the one to use)."""

    @classmethod
    def validate(cls, value: Any) -> Union[BinaryIO, "URLFile", io.IOBase]:
        """An open file stays; a `data:` URL becomes a `BytesIO`, an `http(s):` one a `URLFile`."""
        if isinstance(value, io.IOBase):
            return value
        scheme, colon, _ = str(value).partition(":")
        scheme = scheme.lower() if colon else ""
        if scheme == "data":
            return io.BytesIO(decode_data_url(str(value)))
        if scheme in ("http", "https"):
            return URLFile(str(value))
        raise ValueError(f"'{scheme}' is not a valid URL scheme. 'data', 'http', or 'https' is supported.")


class URLFile(io.IOBase):
    """The content of a URL, fetched when it is first read; can be pickled until then."""

    def __init__(self, url: str, filename: Optional[str] = None) -> None:
        if not str(url).lower().startswith(("http://", "https://")):
            raise ValueError("URLFile requires URL to conform to HTTP or HTTPS protocol")
        self._url = url
        self._filename = filename
        self._response: Any = None
        self._content: Any = None

    @property
    def name(self) -> str:
        """The file name that the URL suggests."""
        return self._filename or get_filename(self._url)

    def _open(self) -> Any:
        if self._response is None:
            self._response = _requested(self._url)
            self._content = io.BufferedReader(_Body(self._response))
            if (self._response.headers.get("Content-Encoding") or "").lower() in ("gzip", "x-gzip"):
                import gzip

                self._content = gzip.GzipFile(fileobj=self._content)
        return self._content

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all of them by default."""
        data: bytes = self._open().read() if size is None or size < 0 else self._open().read(size)
        return data

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; the number of bytes."""
        count: int = self._open().readinto(buffer)
        return count

    def readable(self) -> bool:
        """Always."""
        return True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._open())

    def __getattr__(self, name: str) -> Any:
        # What else an answer has: `headers`, `status`, `read1`.
        if name.startswith("_"):
            raise AttributeError(name)
        content = self._open()
        return getattr(content if name.startswith("read") else self._response, name)

    def close(self) -> None:
        """Close the connection, if one was opened."""
        if getattr(self, "_response", None) is not None:
            self._response.close()
        super().close()

    def __reduce__(self) -> Any:
        return (URLFile, (self._url, self._filename))

    def __repr__(self) -> str:
        return f"<URLFile {self._url[:80]}>"


class _Body(io.RawIOBase):
    """What an answer to a request contains; ConnectionError if it ends before it should."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._response.readinto(buffer)
        missing = getattr(self._response, "length", None)
        if not count and missing:
            raise ConnectionError(f"the connection was closed {missing} bytes before the end")
        return count


def _requested(url: str) -> Any:
    """The answer to a GET of `url`, which need not be quoted; a user and a password in it are for its own host only."""
    import base64
    import urllib.parse
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def http_error_308(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:  # noqa: ARG002
            return self.http_error_302(req, fp, 307, msg, headers)

    parts = urllib.parse.urlsplit(url.strip())
    user, _, place = parts.netloc.rpartition("@")
    if not place.isascii():
        host, colon, port = place.partition(":")
        place = host.encode("idna").decode() + colon + port
    path, query = (urllib.parse.quote(part, safe=_IN_URL) for part in (parts.path, parts.query))
    clean = urllib.parse.urlunsplit((parts.scheme, place, path, query, ""))
    headers = {"User-Agent": os.environ.get("COG_USER_AGENT", "cogsmith")}
    request = urllib.request.Request(clean, headers=headers)  # noqa: S310
    if user:
        pair = urllib.parse.unquote_to_bytes(user if ":" in user else user + ":")
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair).decode())
    if sys.version_info >= (3, 11):
        return urllib.request.urlopen(request, timeout=FETCH_TIMEOUT)  # noqa: S310
    return urllib.request.build_opener(Redirects).open(request, timeout=FETCH_TIMEOUT)  # they know no 308


def decode_data_url(url: str) -> bytes:
    """The bytes of a `data:` URL (RFC 2397); ValueError if it is malformed."""
    import base64
    import urllib.parse

    header, comma, body = url.partition(",")
    if not comma:
        raise ValueError("malformed data URL: it has no comma")
    if header.lower().endswith(";base64"):
        if "%" in body:
            body = urllib.parse.unquote(body)
        return base64.b64decode(body)
    return urllib.parse.unquote_to_bytes(body)


def data_url_type(url: str) -> str:
    """The media type that a `data:` URL names; `text/plain` if it names none."""
    header = url[5 : url.find(",", 0, 1000)]
    return header.split(";")[0].strip().lower() or "text/plain"


def get_filename(url: str) -> str:
    """The file name for a URL: its last path segment, or `file` and an extension for a `data:` URL."""
    if url[:5].lower() == "data:":
        return "file" + (mimetypes.guess_extension(data_url_type(url)) or "")
    import urllib.parse

    name = urllib.parse.unquote_plus(os.path.basename(urllib.parse.urlparse(url).path))
    return _shortened(name.replace("\0", "_").replace("/", "_"))


def _shortened(name: str) -> str:
    if len(name.encode(errors="replace")) <= NAME_MAX:
        return name
    stem, extension = os.path.splitext(name)
    room = NAME_MAX - len(extension.encode()) - 1
    if room < 1:
        return name.encode(errors="replace")[:NAME_MAX].decode(errors="ignore")
    return stem.encode(errors="replace")[:room].decode(errors="ignore") + "~" + extension
