"""The ways to a registry: TLS with a certificate of one's own, insecure hosts, a proxy, and neither to this machine."""

from __future__ import annotations

import base64
import http.server
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_images import add_image, two_layers
from spec_registry import SpecRegistry

from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.pull import pull_image
from builder.registry.push import push_image
from builder.report import Quiet
from builder.store import Store

NAME = "registry.test"


@pytest.fixture
def certificate(tmp_path: Path, tool: object) -> Path:
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}", "-days", "2"]
    argv += ["-addext", f"subjectAltName=DNS:{NAME},DNS:localhost"]
    argv += ["-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")]
    subprocess.run(argv, check=True, capture_output=True)
    return tmp_path / "tls.crt"


@pytest.fixture
def secure(certificate: Path) -> Iterator[SpecRegistry]:
    """A registry that speaks TLS."""
    registry = SpecRegistry()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = registry._server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield registry
    registry.close()


class Proxy(http.server.BaseHTTPRequestHandler):
    """CONNECT to whatever is asked leads to one place."""

    target: tuple[str, int]
    asked: list[str]

    def do_CONNECT(self) -> None:
        type(self).asked.append(self.path)
        upstream = socket.create_connection(type(self).target)
        self.send_response(200)
        self.end_headers()

        def copy(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        back = threading.Thread(target=copy, args=(upstream, self.connection), daemon=True)
        back.start()
        copy(self.connection, upstream)
        back.join()
        upstream.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(secure: SpecRegistry) -> Iterator[tuple[str, list[str]]]:
    """A proxy's URL, and what it was asked for."""
    host, _, port = secure.host.partition(":")
    handler = type("Handler", (Proxy,), {"target": (host, int(port)), "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def there_and_back(text: str, source: Store, store: Store, env: dict[str, str]) -> None:
    image = add_image(source, "x", two_layers(source))
    push_image(image, to=parse(text), store=source, access=Access(env=env, pauses=(0.0,)), report=Quiet())
    access = Access(env=env, pauses=(0.0,))
    pulled = pull_image(parse(text), name="x", platform="linux/amd64", store=store, access=access, report=Quiet())
    assert pulled.descriptor == image.descriptor


@pytest.fixture
def env(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return {"HOME": str(home), "PATH": os.environ["PATH"], "CONTAINERS_REGISTRIES_CONF": str(home / "none.conf")}


def test_a_certificate_nobody_knows(secure: SpecRegistry, source: Store, store: Store, env: dict[str, str]) -> None:
    host = f"localhost:{secure.host.partition(':')[2]}"
    with pytest.raises(RegistryError) as caught:
        there_and_back(f"{host}/x:v1", source, store, env)
    assert "certificate is not trusted" in str(caught.value)
    assert "COG_CA_CERT" in str(caught.value.hint)


@pytest.mark.parametrize("form", ["file", "folder", "text", "base64"])
def test_a_certificate_of_ones_own(
    form: str, secure: SpecRegistry, certificate: Path, source: Store, store: Store, env: dict[str, str]
) -> None:
    folder = certificate.with_name("folder")
    folder.mkdir()
    (folder / "own.pem").write_bytes(certificate.read_bytes())
    value = {
        "file": str(certificate),
        "folder": str(folder),
        "text": certificate.read_text(),
        "base64": base64.b64encode(certificate.read_bytes()).decode(),
    }[form]
    host = f"localhost:{secure.host.partition(':')[2]}"
    there_and_back(f"{host}/x:v1", source, store, {**env, "COG_CA_CERT": value})


def test_a_certificate_that_is_none(secure: SpecRegistry, source: Store, store: Store, env: dict[str, str]) -> None:
    host = f"localhost:{secure.host.partition(':')[2]}"
    with pytest.raises(RegistryError, match="the certificates of COG_CA_CERT cannot be used") as caught:
        there_and_back(f"{host}/x:v1", source, store, {**env, "COG_CA_CERT": "/nowhere.pem"})
    assert caught.value.hint


def test_insecure_by_registries_conf(secure: SpecRegistry, source: Store, store: Store, env: dict[str, str]) -> None:
    host = f"localhost:{secure.host.partition(':')[2]}"
    conf = Path(env["HOME"]) / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    there_and_back(f"{host}/x:v1", source, store, {**env, "CONTAINERS_REGISTRIES_CONF": str(conf)})


def test_through_a_proxy(
    proxy: tuple[str, list[str]],
    certificate: Path,
    source: Store,
    store: Store,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, asked = proxy
    monkeypatch.setenv("HTTPS_PROXY", url)
    there_and_back(f"{NAME}/x:v1", source, store, {**env, "COG_CA_CERT": str(certificate)})
    assert set(asked) == {f"{NAME}:443"}


def test_no_proxy_to_this_machine(
    source: Store, store: Store, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    registry = SpecRegistry()
    try:
        there_and_back(f"{registry.host}/x:v1", source, store, env)
    finally:
        registry.close()
