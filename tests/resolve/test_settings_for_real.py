"""Each way to name an index and its credentials, with a real uv and a real download from an index that wants a user."""

from __future__ import annotations

import hashlib
import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_index import Index, Served, Told

from builder.errors import ResolveError
from builder.resolve.python import resolve_python
from builder.store import Store

Ways = dict[str, str]


def pip_conf(home: Path, host: str) -> Ways:
    (home / "pip.conf").write_text(f"[global]\nindex-url = http://me:s%%40crt@{host}/simple\n".replace("%%", "%"))
    return {"PIP_CONFIG_FILE": os.fspath(home / "pip.conf")}


def pip_extra(home: Path, host: str) -> Ways:
    empty = Index(home / "empty").url
    return {"PIP_INDEX_URL": empty, "PIP_EXTRA_INDEX_URL": f"http://me:s%40crt@{host}/simple"}


def pip_no_index(home: Path, host: str) -> Ways:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"http://me:s%40crt@{host}/files/"}


def uv_named(home: Path, host: str) -> Ways:
    named = {"UV_INDEX": f"my-corp=http://{host}/simple", "UV_DEFAULT_INDEX": Index(home / "empty").url}
    return {**named, "UV_INDEX_MY_CORP_USERNAME": "me", "UV_INDEX_MY_CORP_PASSWORD": "s@crt"}


def uv_toml(home: Path, host: str) -> Ways:
    (home / "uv.toml").write_text(f'[[index]]\nurl = "http://me:s%40crt@{host}/simple"\ndefault = true\n')
    return {"UV_CONFIG_FILE": os.fspath(home / "uv.toml"), "UV_NO_CONFIG": ""}


def uv_stored(home: Path, host: str) -> Ways:
    (home / "credentials.toml").write_text(
        f'[[credential]]\nservice = "http://{host}/"\nusername = "me"\npassword = "s@crt"\nscheme = "basic"\n'
    )
    return {"UV_CREDENTIALS_DIR": os.fspath(home), "UV_DEFAULT_INDEX": f"http://{host}/simple"}


def netrc(home: Path, host: str) -> Ways:
    (home / "netrc").write_text("machine 127.0.0.1 login me password s@crt\n")
    return {"NETRC": os.fspath(home / "netrc"), "PIP_INDEX_URL": f"http://{host}/simple"}


def keyring(home: Path, host: str) -> Ways:
    program = home / "keyring"
    program.write_text('#!/bin/sh\n[ "$1 $3" = "get me" ] && echo s@crt || exit 1\n')
    program.chmod(0o755)
    path = f"{home}:{os.environ['PATH']}"
    return {"PATH": path, "PIP_KEYRING_PROVIDER": "subprocess", "PIP_INDEX_URL": f"http://me@{host}/simple"}


WAYS = (pip_conf, pip_extra, pip_no_index, uv_named, uv_toml, uv_stored, netrc, keyring)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_private_index(
    way: Callable[[Path, str], Ways],
    index: Index,
    serve: Callable[..., Served],
    store: Store,
    bare_env: dict[str, str],
    told: Told,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = index.add("thing", with_hash=False)  # so that it is downloaded, by us, too
    served = serve(index.root, user="me:s@crt")
    home = tmp_path / "settings"
    home.mkdir()
    env = {name: value for name, value in {**bare_env, **way(home, served.host)}.items() if value}
    if "NETRC" in env:
        monkeypatch.setenv("NETRC", env["NETRC"])  # requests looks in its own environment
    wheels, remotes, _ = resolve_python(
        "thing\n", project=tmp_path, python_version="3.11.2", platform="linux/amd64", glibc="2.36", store=store,
        env=env, report=told,
    )  # fmt: skip
    assert [one.sha256 for one in wheels] == [hashlib.sha256(wheel.read_bytes()).hexdigest()]
    assert remotes[0].urls == (f"http://{served.host}/files/{wheel.name}",)


@pytest.fixture
def secure(index: Index, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The index over HTTPS with a certificate of an authority that nobody knows, and that authority."""
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    authority, authority_key, own, key = (tmp_path / name for name in ("ca.pem", "ca.key", "own.pem", "own.key"))
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    for words in (
        ["-subj", "/CN=authority", "-keyout", authority_key, "-out", authority],
        [*names, "-CA", authority, "-CAkey", authority_key, "-keyout", key, "-out", own],
    ):
        done = subprocess.run([*make, *words], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"openssl made no certificate: {done.stderr.decode()}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=os.fspath(index.root))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", authority
    server.shutdown()
    server.server_close()


def test_a_certificate_of_the_users_own(
    index: Index, secure: tuple[str, Path], store: Store, bare_env: dict[str, str], told: Told, tmp_path: Path
) -> None:
    address, authority = secure
    index.add("thing", with_hash=False)

    def resolve(**settings: str) -> tuple[str, ...]:
        _, remotes, _ = resolve_python(
            "thing\n", project=tmp_path, python_version="3.11.2", platform="linux/amd64", glibc="2.36", store=store,
            env={**bare_env, "PIP_INDEX_URL": f"{address}/simple", "UV_NO_CACHE": "1", **settings}, report=told,
        )  # fmt: skip
        return remotes[0].urls

    with pytest.raises(ResolveError) as caught:
        resolve()
    assert caught.value.brief == "the package index has a certificate that is not trusted here"
    place = f"{address}/files/thing-1.0-py3-none-any.whl"
    assert resolve(PIP_CERT=os.fspath(authority)) == (place,)
    assert resolve(PIP_TRUSTED_HOST="127.0.0.1") == (place,)
