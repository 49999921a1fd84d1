"""Downloads of wheels go out as pip and uv would send them: users, certificates, trusted hosts, proxies, a keyring."""

from __future__ import annotations

import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from small_index import Index, Served, Told

from builder.resolve.indexes import uv_environment
from builder.resolve.sessions import session_factory


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"HOME": os.fspath(tmp_path / "home"), "PIP_CONFIG_FILE": os.devnull, "PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """requests looks at these by itself, and the user's own would answer."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def status(url: str, env: dict[str, str], **options: object) -> int:
    environment = uv_environment(env, report=Told())
    with session_factory(environment, **options)() as session:  # type: ignore[arg-type]
        return session.get(url, timeout=20).status_code


@pytest.fixture
def private(index: Index, serve: Callable[..., Served]) -> str:
    """The host of an index that wants a user."""
    return serve(index.root, user="me:s@crt").host


def test_users_from_everywhere(env: dict[str, str], private: str, tmp_path: Path) -> None:
    url = f"http://{private}/simple/"
    assert status(url, env) == 401
    assert status(url, {**env, "PIP_INDEX_URL": f"http://me:s%40crt@{private}/simple"}) == 200
    assert status(url, {**env, "UV_INDEX": f"corp=http://me:s%40crt@{private}/simple"}) == 200
    named = {"UV_INDEX": f"my-corp=http://{private}/simple", "UV_INDEX_MY_CORP_USERNAME": "me"}
    assert status(url, {**env, **named, "UV_INDEX_MY_CORP_PASSWORD": "s@crt"}) == 200
    assert status(url, env, texts=[f"--extra-index-url http://me:s%40crt@{private}/simple\nnumpy\n"]) == 200
    assert status(url, {**env, "S": "s%40crt"}, texts=[f"x @ http://me:${{S}}@{private}/x.whl"]) == 200
    assert status(url, env, known={f"http://{private}": ("me", "s@crt")}) == 200
    settings = tmp_path / "uv.toml"
    settings.write_text(f'[[index]]\nname = "corp"\nurl = "http://me:s%40crt@{private}/simple"\n')
    assert status(url, {**env, "UV_CONFIG_FILE": os.fspath(settings)}) == 200
    stored = tmp_path / "credentials"
    stored.mkdir()
    (stored / "credentials.toml").write_text(
        f'[[credential]]\nservice = "http://{private}/"\nusername = "me"\npassword = "s@crt"\nscheme = "basic"\n'
    )
    assert status(url, {**env, "UV_CREDENTIALS_DIR": os.fspath(stored)}) == 200


def test_netrc_counts_beside_them(
    env: dict[str, str], private: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s@crt\n")
    monkeypatch.setenv("NETRC", os.fspath(netrc))
    assert status(f"http://{private}/simple/", {**env, "PIP_INDEX_URL": "https://you:x@other.invalid/simple"}) == 200


def test_a_keyring_is_asked(env: dict[str, str], private: str, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "keyring"
    program.write_text(f'#!/bin/sh\n[ "$*" = "get {private} me" ] && echo s@crt || exit 1\n')
    program.chmod(0o755)
    path = f"{tools}:{env['PATH']}"
    url, asked = f"http://{private}/simple/", {**env, "PATH": path, "PIP_INDEX_URL": f"http://me@{private}/simple"}
    assert status(url, asked) == 401
    assert status(url, {**asked, "UV_KEYRING_PROVIDER": "subprocess"}) == 200
    assert status(url, {**asked, "PIP_KEYRING_PROVIDER": "subprocess"}) == 200
    assert status(url, {**asked, "PIP_KEYRING_PROVIDER": "import"}) == 401


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTPS server on loopback with a certificate that nobody knows, and that certificate."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    done = subprocess.run([*command.split(), "-keyout", key, "-out", certificate], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"openssl made no certificate: {done.stderr.decode()}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/", certificate
    server.shutdown()
    server.server_close()


def test_certificates_and_trusted_hosts(
    env: dict[str, str], secure: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = secure
    with pytest.raises(requests.exceptions.SSLError):
        status(url, env)
    assert status(url, {**env, "PIP_CERT": os.fspath(certificate)}) == 200
    assert status(url, {**env, "SSL_CERT_FILE": os.fspath(certificate)}) == 200
    assert status(url, {**env, "PIP_TRUSTED_HOST": "127.0.0.1"}) == 200
    assert status(url, {**env, "UV_INSECURE_HOST": url.split("/")[2]}) == 200
    with pytest.raises(requests.exceptions.SSLError):
        status(url, {**env, "PIP_TRUSTED_HOST": "127.0.0.2"})
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate))  # what OpenSSL takes for the system's
    assert status(url, {**env, "UV_SYSTEM_CERTS": "1"}) == 200
    assert status(url, {**env, "UV_NATIVE_TLS": "true"}) == 200
    settings = tmp_path / "uv.toml"
    settings.write_text("native-tls = true\n")
    assert status(url, {**env, "UV_CONFIG_FILE": os.fspath(settings)}) == 200
    settings.write_text('allow-insecure-host = ["127.0.0.1"]\n')
    assert status(url, {**env, "UV_CONFIG_FILE": os.fspath(settings)}) == 200


def test_a_proxy_of_pip_is_used_but_not_for_this_machine(
    env: dict[str, str], index: Index, serve: Callable[..., Served]
) -> None:
    proxy, direct = serve(index.root), serve(index.root)
    given = {**env, "PIP_PROXY": f"http://{proxy.host}"}
    assert status("http://index.invalid/simple/", given) == 404  # what a file server makes of a proxy's request
    assert [path for _, path in proxy.asked] == ["http://index.invalid/simple/"]
    assert status(f"http://{direct.host}/simple/", given) == 200
    assert len(proxy.asked) == 1
