"""What registries answer, in words, and which answers are worth another attempt."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any

from builder.errors import RegistryError
from builder.fetch import network_problem
from builder.registry import hosts

if TYPE_CHECKING:
    import requests

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

TOO_MANY = 429

LONGEST_WAIT = 60.0
"""Seconds, whatever `Retry-After` says."""

LARGEST = 32 << 20
"""Bytes of a document that is read whole: manifests, configurations, errors."""

_HINTS = {
    400: "if the registry is an old one or a proxy, it may not know this kind of image: see its log",
    401: "log in: {log_in}",
    403: "the account may not do this, or its login has run out: ask for the permission, or log in: {log_in}",
    404: "check the spelling; a private repository also looks like this to whoever is not logged in",
    405: "this registry only reads, or is a mirror: push to the registry itself",
    413: "something in front of the registry limits requests: set COG_PUSH_DEFAULT_CHUNK_SIZE and"
    " COG_PUSH_MULTIPART_THRESHOLD (bytes) lower",
    415: "it takes no manifests or layers of this kind: build with `--layer-format gzip`, or ask who runs it",
    429: "the registry limits requests: log in ({log_in}), or wait",
    507: "the registry's storage is full: free some there",
}
_WHERE = {"get": "from", "push": "to"}
_NO_REPOSITORY = "make the repository there first, if this registry makes none by itself, and check the spelling"
_REASONS = {401: "it wants credentials", 403: "it refuses", 404: "it has none", 429: "too many requests"}
_OFFLINE = "is the registry's name right, and is there a network (check HTTPS_PROXY, NO_PROXY and COG_CA_CERT)?"
_UNTRUSTED = (
    "name the certificate of who signed it in COG_CA_CERT (a file, or a folder of them), or have the system trust it;"
    " `insecure = true` in registries.conf trusts everybody"
)
_TROUBLE = "the registry is in trouble, which its log explains (a full disk looks like this): try again later"


def refusal(response: requests.Response, *, what: str, do: str, registry: str, repository: str = "") -> RegistryError:
    """The error for an answer that is not a success; `do` completes "could not ..."."""
    status, details = response.status_code, errors_of(response)
    reason = _REASONS.get(status, f"HTTP status {status} {response.reason or ''}".rstrip())
    hint = _TROUBLE if status >= 500 and status != 507 else _HINTS.get(status, _HINTS[400])
    if status == 404 and do == "push" and "UPLOAD_UNKNOWN" not in details:
        how = hosts.create(registry, repository=repository)
        hint = f"make the repository there first: {how}" if how else _NO_REPOSITORY
    error = RegistryError(
        f"could not {do} {what} {_WHERE.get(do, 'at')} `{registry}`: {reason}",
        details=details or None,
        hint=hint.replace("{log_in}", hosts.log_in(registry)),
    )
    error.status = status
    return error


def read_whole(response: requests.Response, *, what: str) -> None:
    """Read the body of a streamed answer, so that `content` has it; `RegistryError` if it is no small document."""
    data = bytearray()
    for piece in response.iter_content(1 << 16):
        data += piece
        if len(data) > LARGEST:
            response.close()
            raise RegistryError(
                f"{what} is too large: more than {LARGEST} bytes",
                hint="name an image; this is something else, or no registry at all",
            )
    response._content = bytes(data)  # noqa: SLF001 - where requests itself keeps it


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def nobody_listens(problem: BaseException) -> bool:
    """Whether at the bottom of what `requests` raised is a refused connection."""
    seen: BaseException | None = problem
    while seen is not None:
        if isinstance(seen, ConnectionRefusedError):
            return True
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if inner is None and seen.args and isinstance(seen.args[0], BaseException):
            inner = seen.args[0]
        seen = inner if isinstance(inner, BaseException) else None
    return False


def may_pass(problem: OSError) -> bool:
    """Whether the same request may succeed after this: not where a certificate or an address is wrong."""
    import requests

    kinds = requests.exceptions
    return isinstance(
        problem, (kinds.ConnectionError, kinds.Timeout, kinds.ChunkedEncodingError, kinds.ContentDecodingError)
    ) and not isinstance(problem, kinds.SSLError)


def _is_untrusted(problem: OSError) -> bool:
    import requests

    return isinstance(problem, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(problem)


def in_words(problem: OSError, *, brief: str, hint: str | None = None) -> RegistryError:
    """What `requests` raised as an error of ours."""
    try:
        with network_problem(RegistryError, brief):
            raise problem
    except RegistryError as error:
        # The only hint that comes from there is for who is offline.
        usual = _OFFLINE if error.hint else "try again: what has arrived is not sent again"
        hint = hint or (_UNTRUSTED if _is_untrusted(problem) else usual)
        return RegistryError(error.brief, details=error.details, hint=hint)


def retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    # A time, by the server's own clock, whatever this machine's says.
    until, now = parsedate_tz(text), parsedate_tz(response.headers.get("Date", ""))
    if until is None or now is None:
        return 0.0
    return float(min(max(mktime_tz(until) - mktime_tz(now), 0), LONGEST_WAIT))


def errors_of(response: requests.Response) -> str:
    """The registry's own words (distribution spec, error codes), or the first line of what a proxy says."""
    try:
        document: Any = json.loads(response.content)
        errors = document["errors"]
        return "\n".join(_words(error) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return _first_line(response)


def _first_line(response: requests.Response) -> str:
    if not response.headers.get("Content-Type", "").startswith("text/plain"):
        return ""  # pages of HTML say nothing to anybody
    try:
        lines = response.content[:2000].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return re.sub(r"[^ -~]", "?", lines[0])[:300] if lines else ""


def _words(error: Mapping[str, Any]) -> str:
    detail = error.get("detail")
    text = f"{error.get('code', '')}: {error.get('message', '')}".strip(": ")
    if detail and detail != {}:
        shown = detail if isinstance(detail, str) else json.dumps(detail, sort_keys=True)
        text += f" ({re.sub(r'://[^/@ ]*@', '://', shown)[:300]})"
    return text
