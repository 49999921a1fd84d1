"""A real registry on loopback, with and without authentication, and stores on both ends."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import reserved_port
from small_registry import HTPASSWD, PASSWORD, USER, Server, TokenServer
from spec_registry import SpecRegistry

from builder.registry import auth
from builder.store import Store


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Starts a registry with the given `auth:` section."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    running, ports = [], contextlib.ExitStack()

    def begin(auth: str) -> Server:
        port = ports.enter_context(reserved_port())
        folder = tmp_path / f"registry-{port}"
        folder.mkdir()
        (folder / "htpasswd").write_text(HTPASSWD)
        (folder / "config.yml").write_text(
            "version: 0.1\nlog: {level: info}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n" + auth.replace("@FOLDER@", str(folder))
        )
        log = folder / "log"
        with log.open("wb") as out:
            child = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=out, stderr=out)
        running.append(child)
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/")
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert child.poll() is None, log.read_text()
                time.sleep(0.05)
        else:
            raise AssertionError(log.read_text())
        return Server(host=f"127.0.0.1:{port}", log=log)

    with ports:
        yield begin
        for child in running:
            child.terminate()
            child.wait()


@pytest.fixture
def public(start: Callable[[str], Server]) -> Server:
    """A registry that anybody may use."""
    return start("")


@pytest.fixture
def private(start: Callable[[str], Server]) -> Server:
    """A registry with basic authentication."""
    return start("auth: {htpasswd: {realm: test, path: '@FOLDER@/htpasswd'}}\n")


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    """A token server (distribution spec, token authentication) that signs with a key made by openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2"]
    subprocess.run([*argv, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    chain = "".join(certificate.read_text().splitlines()[1:-1])

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": "test",
            "sub": USER,
            "aud": "registry",
            "exp": now + 300,
            "nbf": now - 60,
            "iat": now,
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        text = (
            b64(json.dumps(header).encode()) + "." + b64(json.dumps({**claims, "jti": "1", "access": access}).encode())
        )
        sign = ["openssl", "dgst", "-sha256", "-sign", key]
        return text + "." + b64(subprocess.run(sign, input=text.encode(), check=True, capture_output=True).stdout)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, query: dict[str, list[str]], *, known: bool) -> None:
            served.asked.append(query)
            status, body = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}
            if known:
                scopes = [scope for text in query.get("scope", []) for scope in text.split(" ")]
                status, body = 200, {"token": token(scopes)}  # type: ignore[dict-item]
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            self.answer(query, known=self.headers.get("Authorization") == right)

        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer(form, known=form.get("refresh_token") == ["long-lived"])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    served = TokenServer(url=f"http://127.0.0.1:{server.server_port}/token")
    yield served
    server.shutdown()


@pytest.fixture
def bearer(start: Callable[[str], Server], tokens: TokenServer, tmp_path: Path) -> Server:
    """A registry that wants tokens."""
    bundle = tmp_path / "cert.pem"
    return start(
        f"auth: {{token: {{realm: '{tokens.url}', service: registry, issuer: test, rootcertbundle: {bundle}}}}}\n"
    )


@pytest.fixture
def new() -> Iterator[Callable[[], SpecRegistry]]:
    """Begins registries by the letter of the specification, which a test can have misbehave."""
    made: list[SpecRegistry] = []

    def begin() -> SpecRegistry:
        made.append(SpecRegistry())
        return made[-1]

    yield begin
    for registry in made:
        registry.close()


@pytest.fixture
def spec(new: Callable[[], SpecRegistry]) -> SpecRegistry:
    """One of these."""
    return new()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "source") as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of `/run/containers`: what lies there on the machine is not looked at."""
    monkeypatch.setattr(auth, "RUN", tmp_path / "run-containers")
    return tmp_path / "run-containers"


@pytest.fixture
def log_in(home: Path) -> Callable[[str], None]:
    """Writes Docker's file of credentials for a registry."""

    def write(host: str) -> None:
        (home / ".docker").mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    return write
