"""Pulling from a real registry, and from one that misbehaves."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_images import add_image, add_layer, digest_of, tar_of, two_layers
from small_registry import Server, TokenServer

from builder import oci
from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.pull import Pulled, pull_documents, pull_image
from builder.report import Quiet
from builder.store import Store, StoredImage

LogIn = Callable[[str], None]


def pull(text: str, store: Store, home: Path, *, platform: str = "linux/amd64", name: str = "pulled") -> Pulled:
    access = Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,) * 6)
    return pull_image(parse(text), name=name, platform=platform, store=store, access=access, report=Quiet())


def same(store: Store, image: StoredImage) -> bool:
    got = store.image("pulled")
    assert got is not None
    for layer in image.layers:
        assert digest_of(store.blob_path(layer.digest).read_bytes()) == layer.digest
    return (got.descriptor, got.manifest, got.config, got.layers) == (
        image.descriptor,
        image.manifest,
        image.config,
        image.layers,
    )


def test_pull_by_tag_and_digest(public: Server, source: Store, store: Store, home: Path) -> None:
    image = add_image(source, "hello", two_layers(source))
    public.push(source, "hello:latest", "team/hello:v1", "--preserve-digests")
    pulled = pull(f"{public.host}/team/hello:v1", store, home)
    assert same(store, image)
    assert pulled.descriptor == image.descriptor
    by_digest = pull(f"{public.host}/team/hello@{image.digest}", store, home, name="again")
    assert by_digest.descriptor == image.descriptor
    assert list((store.root / "tmp").iterdir()) == []


def test_basic_authentication(private: Server, source: Store, store: Store, home: Path, log_in: LogIn) -> None:
    image = add_image(source, "hello", two_layers(source))
    private.push(source, "hello:latest", "hello:v1", "--preserve-digests")
    with pytest.raises(RegistryError, match="it wants credentials") as caught:
        pull(f"{private.host}/hello:v1", store, home)
    assert f"cogsmith login {private.host}" in str(caught.value)
    log_in(private.host)
    pull(f"{private.host}/hello:v1", store, home)
    assert same(store, image)


def test_wrong_password_is_not_shown(private: Server, source: Store, store: Store, home: Path) -> None:
    (home / ".docker").mkdir()
    entry = {"auth": base64.b64encode(b"smith:tell-nobody").decode()}
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {private.host: entry}}))
    with pytest.raises(RegistryError) as caught:
        pull(f"{private.host}/hello:v1", store, home)
    assert "tell-nobody" not in str(caught.value)
    assert entry["auth"] not in str(caught.value)


def test_netrc_does_not_replace_tokens(
    bearer: Server, source: Store, store: Store, home: Path, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add_image(source, "hello", two_layers(source))
    bearer.push(source, "hello:latest", "hello:v1", "--preserve-digests")
    netrc = home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    log_in(bearer.host)
    pull(f"{bearer.host}/hello:v1", store, home)
    assert same(store, image)


def test_token_with_password(
    bearer: Server, tokens: TokenServer, source: Store, store: Store, home: Path, log_in: LogIn
) -> None:
    image = add_image(source, "hello", two_layers(source))
    bearer.push(source, "hello:latest", "team/hello:v1", "--preserve-digests")
    with pytest.raises(RegistryError, match="gave no token") as caught:
        pull(f"{bearer.host}/team/hello:v1", store, home)
    assert "UNAUTHORIZED: who are you" in str(caught.value)
    log_in(bearer.host)
    tokens.asked.clear()
    pull(f"{bearer.host}/team/hello:v1", store, home)
    assert same(store, image)
    assert tokens.asked == [{"scope": ["repository:team/hello:pull"], "service": ["registry"]}]


def test_token_with_identity_token(
    bearer: Server, tokens: TokenServer, source: Store, store: Store, home: Path
) -> None:
    image = add_image(source, "hello", two_layers(source))
    bearer.push(source, "hello:latest", "hello:v1", "--preserve-digests")
    (home / ".docker").mkdir()
    document = {"auths": {bearer.host: {"identitytoken": "long-lived"}}}
    (home / ".docker" / "config.json").write_text(json.dumps(document))
    tokens.asked.clear()
    pull(f"{bearer.host}/hello:v1", store, home)
    assert same(store, image)
    assert tokens.asked[0]["grant_type"] == ["refresh_token"]


def test_docker_schema_2(public: Server, source: Store, store: Store, home: Path) -> None:
    image = add_image(source, "hello", [add_layer(source, tar_of({"a": b"b" * 2000}))])
    public.push(source, "hello:latest", "hello:v1", "--format", "v2s2")
    pulled = pull(f"{public.host}/hello:v1", store, home)
    assert pulled.descriptor.media_type == oci.DOCKER_MANIFEST
    assert [layer.diff_id for layer in pulled.layers] == [layer.diff_id for layer in image.layers]


def push_index(source: Store, server: Server, images: list[StoredImage]) -> None:
    """Put an index of several platforms into a store and from there into a registry."""
    entries = []
    for image in images:
        platform = {"os": str(image.config["os"]), "architecture": str(image.config["architecture"])}
        if platform["architecture"] == "arm64":
            platform["variant"] = "v8"
        entries.append({**image.descriptor.to_json(), "platform": platform})
    attestation = {**images[0].descriptor.to_json(), "platform": {"os": "unknown", "architecture": "unknown"}}
    document = oci.document(
        {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [*entries, attestation]}, media_type=oci.INDEX
    )
    source.put(document.data)
    source.set_image("many", document.descriptor)
    server.push(source, "many:latest", "many:v1", "--all", "--preserve-digests")


def test_index_of_platforms(public: Server, source: Store, store: Store, home: Path) -> None:
    layers = two_layers(source)
    amd = add_image(source, "amd", layers)
    arm = add_image(source, "arm", layers[:1], platform="linux/arm64")
    push_index(source, public, [amd, arm])
    for platform, image in (("linux/amd64", amd), ("linux/arm64", arm)):
        pull(f"{public.host}/many:v1", store, home, platform=platform)
        assert same(store, image)
    with pytest.raises(RegistryError, match="no image for the platform `linux/s390x`") as caught:
        pull(f"{public.host}/many:v1", store, home, platform="linux/s390x")
    assert "linux/amd64, linux/arm64" in str(caught.value)


def test_wrong_platform_without_index(public: Server, source: Store, store: Store, home: Path) -> None:
    add_image(source, "arm", two_layers(source), platform="linux/arm64")
    public.push(source, "arm:latest", "arm:v1")
    with pytest.raises(RegistryError, match="for `linux/arm64`, not for `linux/amd64`"):
        pull(f"{public.host}/arm:v1", store, home)


def test_missing(public: Server, store: Store, home: Path) -> None:
    with pytest.raises(RegistryError, match="it has none") as caught:
        pull(f"{public.host}/nobody/nothing:v1", store, home)
    assert "nobody/nothing:v1" in str(caught.value)
    assert "MANIFEST_UNKNOWN" in str(caught.value)


def test_nobody_listens(store: Store, home: Path) -> None:
    with pytest.raises(RegistryError, match=r"could not reach the registry `127\.0\.0\.1:1`"):
        pull("127.0.0.1:1/x", store, home)


class Bad(http.server.BaseHTTPRequestHandler):
    """A registry that serves what `served` says, in the way `manner` says."""

    protocol_version = "HTTP/1.1"
    served: dict[str, tuple[str, bytes]]
    manner: str
    log: list[tuple[str, str]]

    def do_GET(self) -> None:
        cls = type(self)
        name = self.path.removeprefix("/v2/x/")
        cls.log.append((name, self.headers.get("Range", "")))
        if name not in cls.served:
            return self.reply(200 if self.path == "/v2/" else 404, b"{}")
        media_type, data = cls.served[name]
        if cls.manner == "cut" and len(data) > 1000:
            start, end = 0, len(data) - 1
            if self.headers.get("Range"):
                start, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            self.send_header("Content-Length", str(end - start + 1))
            self.end_headers()
            self.wfile.write(data[start : start + 900])  # and no more
            self.close_connection = True
            return None
        if cls.manner == "changed":
            data = data[:-2] + b"??"
        if cls.manner == "lying header":
            return self.reply(200, data, media_type, {"Docker-Content-Digest": "sha256:" + "1" * 64})
        return self.reply(200, data, media_type)

    def reply(self, status: int, data: bytes, media_type: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in {"Content-Type": media_type, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bad(source: Store) -> Iterator[tuple[str, type[Bad], StoredImage]]:
    image = add_image(source, "x", [add_layer(source, tar_of({"a": os.urandom(3000)}))])
    handler = type("Handler", (Bad,), {"served": {}, "manner": "", "log": []})
    handler.served["manifests/latest"] = (oci.MANIFEST, source.read_blob(image.digest))
    for digest in (str(image.manifest["config"]["digest"]), image.layers[0].digest):
        handler.served[f"blobs/{digest}"] = ("application/octet-stream", source.read_blob(digest))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/x", handler, image
    server.shutdown()


def test_connection_that_breaks_is_resumed(bad: tuple[str, type[Bad], StoredImage], store: Store, home: Path) -> None:
    where, handler, image = bad
    handler.manner = "cut"
    pull(where, store, home)
    assert same(store, image)
    layer = f"blobs/{image.layers[0].digest}"
    size = image.layers[0].size
    ranges = [asked for name, asked in handler.log if name == layer]
    assert ranges[:3] == ["", f"bytes=900-{size - 1}", f"bytes=1800-{size - 1}"]


def test_manifest_that_is_changed_on_the_way(bad: tuple[str, type[Bad], StoredImage], store: Store, home: Path) -> None:
    where, handler, image = bad
    handler.served[f"manifests/{image.digest}"] = handler.served["manifests/latest"]
    handler.manner = "changed"
    with pytest.raises(RegistryError, match="sent another manifest") as caught:
        pull(f"{where}@{image.digest}", store, home)
    assert image.digest in str(caught.value)
    handler.manner = "lying header"
    with pytest.raises(RegistryError, match="sent another manifest"):
        pull(where, store, home)
    assert store.images() == []


def test_blob_that_is_another(bad: tuple[str, type[Bad], StoredImage], store: Store, home: Path) -> None:
    where, handler, image = bad
    layer = image.layers[0]
    name = f"blobs/{layer.digest}"
    handler.served[name] = ("", b"?" * layer.size)
    with pytest.raises(RegistryError, match="could not pull the blob") as caught:
        pull(where, store, home)
    wrong = hashlib.sha256(b"?" * layer.size).hexdigest()
    assert layer.digest.removeprefix("sha256:") in str(caught.value)
    assert wrong in str(caught.value)
    assert not store.has_blob(layer.digest)
    del handler.served[name]
    with pytest.raises(RegistryError, match="could not pull the blob") as caught:
        pull(where, store, home)
    assert "404" in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        b"not json",
        b"[]",
        b"{}",
        json.dumps({"mediaType": oci.MANIFEST, "config": 7, "layers": []}).encode(),
        json.dumps({"mediaType": oci.INDEX, "manifests": [7]}).encode(),
        json.dumps({"schemaVersion": 1, "fsLayers": [], "history": []}).encode(),
    ],
)
def test_manifests_that_are_none(
    bad: tuple[str, type[Bad], StoredImage], store: Store, home: Path, document: bytes
) -> None:
    where, handler, _ = bad
    handler.served["manifests/latest"] = ("application/json", document)
    with pytest.raises(RegistryError):
        pull(where, store, home)
    assert store.images() == []


def test_manifest_whose_config_names_a_path(bad: tuple[str, type[Bad], StoredImage], store: Store, home: Path) -> None:
    where, handler, image = bad
    manifest = json.loads(json.dumps(image.manifest))
    manifest["config"]["digest"] = "sha256:../../../etc/passwd"
    handler.served["manifests/latest"] = (oci.MANIFEST, json.dumps(manifest).encode())
    with pytest.raises(Exception, match="not a sha256 digest"):
        pull(where, store, home)


def test_pinned_and_present_needs_no_network(bad: tuple[str, type[Bad], StoredImage], store: Store, home: Path) -> None:
    where, handler, image = bad
    pull(where, store, home)
    handler.log.clear()
    access = Access(env={"HOME": str(home)})
    again = pull_documents(
        parse(f"{where}@{image.digest}"), platform="linux/amd64", store=store, access=access, report=Quiet()
    )
    assert again.descriptor == image.descriptor
    assert handler.log == []
