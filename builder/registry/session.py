"""The HTTP sessions of registries: system certificates beside the usual ones, a CA of the user's own, no proxy to self.

`requests` is imported when a session is made.  The environment is handed in.
"""

from __future__ import annotations

import base64
import binascii
import functools
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import RegistryError
from builder.fetch import default_session

if TYPE_CHECKING:
    import requests

CA_VARIABLE = "COG_CA_CERT"
BLOCK = 1 << 20
"""Bytes of a body that are handed to the system at once."""
_LONGEST_PATH = 255  # a certificate in base64 is longer
_PEM = "-----BEGIN CERTIFICATE-----"


def session_factory(env: Mapping[str, str], *, insecure: bool = False) -> Callable[[], requests.Session]:
    """Makes sessions that share one set of trusted certificates: requests' own, the system's, and `COG_CA_CERT`.

    `COG_CA_CERT` is a file, a folder, PEM text, or that in base64, as with Cog.  `insecure` sessions trust everybody.
    """

    @functools.cache
    def trusted() -> ssl.SSLContext | None:
        if insecure:
            return None
        context = ssl.create_default_context()
        if env.get(CA_VARIABLE):
            _add(context, env[CA_VARIABLE])
        return context

    def new() -> requests.Session:
        from requests.adapters import HTTPAdapter

        class Adapter(HTTPAdapter):
            # urllib3 sends 16 kB at a time unless told otherwise.
            def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
                super().init_poolmanager(*args, **kwargs, blocksize=BLOCK)

        class SecureAdapter(Adapter):
            # Certificates are read at the first request that needs them: for a registry on loopback, never.
            ready = False

            def send(self, *args: Any, **kwargs: Any) -> requests.Response:
                if not self.ready:
                    self.ready = True
                    self.init_poolmanager(10, 10, ssl_context=trusted())
                return super().send(*args, **kwargs)

            def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
                return super().proxy_manager_for(*args, **kwargs, ssl_context=trusted())

        session = default_session()
        session.mount("http://", Adapter())
        session.mount("https://", SecureAdapter())
        if insecure:
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the user's own setting
        return session

    return new


def _add(context: ssl.SSLContext, value: str) -> None:
    try:
        if _PEM in value:
            context.load_verify_locations(cadata=value)
        elif len(value) > _LONGEST_PATH:
            context.load_verify_locations(cadata=base64.b64decode(value).decode())
        elif Path(value).is_dir():
            for path in sorted(Path(value).iterdir()):
                if path.suffix in (".pem", ".crt", ".cer"):
                    context.load_verify_locations(cafile=path)
        else:
            context.load_verify_locations(cafile=value)
    except (OSError, ValueError, binascii.Error) as problem:  # ssl.SSLError is an OSError
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise RegistryError(
            f"the certificates of {CA_VARIABLE} cannot be used: {reason}",
            hint="give a PEM file, a folder of them, the PEM text itself, or that in base64",
        ) from problem
