"""Pushing to a real registry: what travels, what does not, and that what is there is what was pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty import Faulty
from small_images import add_image, add_layer, digest_of, tar_of, two_layers
from small_registry import Server, TokenServer

from builder import oci
from builder.errors import RegistryError
from builder.oci import PackedLayer
from builder.reference import parse
from builder.registry import known
from builder.registry.client import Access, Client
from builder.registry.pull import pull_documents, pull_image
from builder.registry.push import Manner, Moved, have, push_image, push_index
from builder.registry.upload import Limits
from builder.report import Quiet
from builder.store import Store, StoredImage
from tests.conftest import ROOT

LogIn = Callable[[str], None]
SMALL = Manner(limits=Limits(chunk=1000, threshold=2000))


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,) * 3)


def push(image: StoredImage, text: str, store: Store, access: Access, manner: Manner | None = None) -> dict[str, str]:
    """Push, and how each blob got there."""
    pushed = push_image(image, to=parse(text), store=store, access=access, report=Quiet(), manner=manner)
    assert pushed.descriptor == image.descriptor
    return {moved.digest: moved.how for moved in pushed.blobs}


def blob(host: str, path: str) -> bytes:
    request = urllib.request.Request(f"http://{host}/v2/{path}", headers={"Accept": f"{oci.MANIFEST}, {oci.INDEX}"})
    with urllib.request.urlopen(request) as got:
        data: bytes = got.read()
        return data


def noise(store: Store, size: int) -> PackedLayer:
    digest = store.put(os.urandom(size))
    return PackedLayer(digest=digest, diff_id=digest, size=size, media_type=oci.LAYER_MEDIA_TYPES["plain"])


@pytest.fixture
def watched(public: Server) -> Iterator[Faulty]:
    """The public registry, with a log of what it is asked."""
    proxy = Faulty(public.host, lambda method, path: None)
    yield proxy
    proxy.close()


def sent(proxy: Faulty) -> int:
    """Bytes of blobs that reached the registry."""
    return sum(count for path, count in proxy.received.items() if "/blobs/" in path)


def test_only_what_is_missing_travels(watched: Faulty, source: Store, access: Access) -> None:
    lower, upper = two_layers(source)
    one = add_image(source, "one", [lower])
    how = push(one, f"{watched.host}/team/model:v1", source, access)
    assert set(how.values()) == {"sent"}
    for digest in how:
        assert digest_of(blob(watched.host, f"team/model/blobs/{digest}")) == digest
    assert digest_of(blob(watched.host, "team/model/manifests/v1")) == one.digest
    watched.received.clear()
    two = add_image(source, "two", [lower, upper])
    how = push(two, f"{watched.host}/team/model:v2", source, access)
    assert how[lower.digest] == "present"
    assert how[upper.digest] == "sent"
    assert sent(watched) == upper.size + int(two.manifest["config"]["size"])
    watched.log.clear()
    push(two, f"{watched.host}/team/model:v3", source, access)
    assert [method for method, _, _ in watched.log] == ["GET", "HEAD", "PUT"]  # it has the manifest, so all of it


def test_docker_and_podman_see_what_was_pushed(
    public: Server, source: Store, access: Access, tool: Callable[[str], str]
) -> None:
    image = add_image(source, "x", two_layers(source))
    push(image, f"{public.host}/x:v1", source, access)
    argv = [tool("skopeo"), "inspect", "--tls-verify=false", f"docker://{public.host}/x:v1"]
    seen = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert seen["Digest"] == image.digest
    assert seen["Layers"] == [layer.digest for layer in image.layers]


def test_layers_are_mounted_from_another_repository(watched: Faulty, source: Store, access: Access) -> None:
    layers = two_layers(source)
    push(add_image(source, "one", layers), f"{watched.host}/team/one:v1", source, access)
    other = add_image(source, "two", layers, env=(("A", "b"),))
    watched.received.clear()
    how = push(other, f"{watched.host}/team/two:v1", source, access)
    assert [how[layer.digest] for layer in layers] == ["mounted", "mounted"]
    assert sent(watched) == int(other.manifest["config"]["size"])
    watched.choose = lambda method, path: "no mount" if "mount=" in path else None
    how = push(other, f"{watched.host}/team/three:v1", source, access)
    assert [how[layer.digest] for layer in layers] == ["sent", "sent"]


def test_mounting_asks_for_both_scopes_in_one_token(
    bearer: Server, tokens: TokenServer, source: Store, access: Access, log_in: LogIn
) -> None:
    log_in(bearer.host)
    layers = two_layers(source)
    push(add_image(source, "one", layers), f"{bearer.host}/team/one:v1", source, access)
    tokens.asked.clear()
    other = add_image(source, "two", layers, env=(("A", "b"),))
    how = push(other, f"{bearer.host}/team/two:v1", source, access)
    assert [how[layer.digest] for layer in layers] == ["mounted", "mounted"]
    scopes = [asked["scope"] for asked in tokens.asked]
    assert ["repository:team/two:pull,push", "repository:team/one:pull"] in scopes
    assert len(scopes) == 2  # one for the repository, one for mounting


def test_base_layers_go_from_registry_to_registry(
    public: Server, private: Server, source: Store, store: Store, access: Access, log_in: LogIn
) -> None:
    log_in(private.host)
    image = add_image(source, "base", [noise(source, 5000), noise(source, 700)])
    push(image, f"{private.host}/base:v1", source, access)
    reference = parse(f"{private.host}/base:v1")
    pulled = pull_documents(reference, platform="linux/amd64", store=store, access=access, report=Quiet())
    store.set_image("mine", pulled.descriptor)
    mine = store.image("mine")
    assert mine is not None
    how = push(mine, f"{public.host}/mine:v1", store, access, SMALL)
    assert [how[layer.digest] for layer in image.layers] == ["copied", "copied"]
    for layer in image.layers:
        assert not store.has_blob(layer.digest)  # by stream, never over this disk
        assert digest_of(blob(public.host, f"mine/blobs/{layer.digest}")) == layer.digest


def test_a_base_named_by_its_annotation_is_copied(public: Server, source: Store, store: Store, access: Access) -> None:
    base = noise(source, 3000)
    push(add_image(source, "base", [base]), f"{public.host}/team/base:v1", source, access)
    code = noise(store, 100)
    config = oci.image_config(
        oci.ImageConfig(env=(), entrypoint=(), cmd=(), working_dir="/", exposed_ports=(), labels=()),
        platform="linux/amd64",
        epoch=0,
        layers=[base, code],
        comments=["base image", "code"],
    )
    annotations = [("org.opencontainers.image.base.name", f"{public.host}/team/base:v1")]
    manifest = oci.image_manifest(config.descriptor, layers=[base, code], annotations=annotations)
    store.put(config.data)
    store.put(manifest.data)
    store.set_image("model", manifest.descriptor)
    image = store.image("model")
    assert image is not None
    how = push(image, f"{public.host}/team/model:v1", store, access)
    assert how[base.digest] == "mounted"
    assert how[code.digest] == "sent"


def test_a_layer_that_is_nowhere(public: Server, source: Store, access: Access) -> None:
    layer = noise(source, 3000)
    image = add_image(source, "x", [layer])
    source.blob_path(layer.digest).unlink()
    with pytest.raises(Exception, match="is not here, and no registry is known to have it") as caught:
        push(image, f"{public.host}/x:v1", source, access)
    assert "build or pull" in str(caught.value)


def test_chunks(watched: Faulty, source: Store, access: Access) -> None:
    small, large = noise(source, 1999), noise(source, 2500)
    push(add_image(source, "x", [small, large]), f"{watched.host}/x:v1", source, access, SMALL)
    patches = [path for method, path, _ in watched.log if method == "PATCH"]
    assert len(patches) == 3
    assert len({path.partition("?")[0] for path in patches}) == 1
    assert digest_of(blob(watched.host, f"x/blobs/{large.digest}")) == large.digest


@pytest.mark.parametrize(
    ("least", "most", "patches"), [("", "700", 4), ("1500", "", 2), ("1500", "2000", 2), ("", "", 3)]
)
def test_the_registry_limits_chunks(
    watched: Faulty, source: Store, access: Access, least: str, most: str, patches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faulty

    def distort(self: object, headers: dict[str, str], *, fault: str | None, status: int) -> None:
        original(self, headers, fault=fault, status=status)  # type: ignore[arg-type]
        for name, value in (("Min", least), ("Max", most)):
            if value and status == 202:
                headers[f"OCI-Chunk-{name}-Length"] = value

    original = faulty._Handler.distort
    monkeypatch.setattr(faulty._Handler, "distort", distort)
    push(add_image(source, "x", [noise(source, 2500)]), f"{watched.host}/x:v1", source, access, SMALL)
    assert [method for method, _, _ in watched.log].count("PATCH") == patches


def test_a_proxy_that_limits_bodies(watched: Faulty, source: Store, access: Access) -> None:
    size = 3 << 20
    image = add_image(source, "x", [noise(source, size)])
    from faulty import _Handler

    class Limited(_Handler):
        proxy = watched

        def serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > 1 << 20:
                self.rfile.read(length)
                return self.answer(413, b"too large")
            return super().serve()

        do_PUT = do_PATCH = serve  # noqa: N815

    watched._server.RequestHandlerClass = Limited
    push(image, f"{watched.host}/x:v1", source, access)
    assert digest_of(blob(watched.host, f"x/blobs/{image.layers[0].digest}")) == image.layers[0].digest


def test_wrong_credentials(private: Server, source: Store, access: Access) -> None:
    image = add_image(source, "x", two_layers(source))
    with pytest.raises(RegistryError, match="it wants credentials") as caught:
        push(image, f"{private.host}/x:v1", source, access)
    assert f"cogsmith login {private.host}" in str(caught.value)


def test_a_token_that_expires_in_the_middle(
    bearer: Server, tokens: TokenServer, source: Store, access: Access, log_in: LogIn
) -> None:
    proxy = Faulty(bearer.host, lambda method, path: None)
    log_in(proxy.host)
    refused: list[str] = []

    def choose(method: str, path: str) -> str | None:
        # The registry forgets each token once, in the middle of the chunks.
        if method == "PATCH" and len(refused) < 2 and path not in refused:
            refused.append(path)
            return "expired token"
        return None

    from faulty import _Handler

    spoiled: list[str] = []

    class Forgetful(_Handler):
        def forward(self, body: bytes, *, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
            if method == "PATCH" and path in refused and path not in spoiled:
                spoiled.append(path)
                self.headers.replace_header("Authorization", "Bearer stale")
            return super().forward(body, method=method, path=path)

    Forgetful.proxy = proxy
    proxy._server.RequestHandlerClass = Forgetful
    proxy.choose = choose
    try:
        push(add_image(source, "x", [noise(source, 5000)]), f"{proxy.host}/x:v1", source, access, SMALL)
    finally:
        proxy.close()
    assert len(refused) == 2
    assert len(tokens.asked) >= 3


def test_have(public: Server, source: Store, access: Access) -> None:
    layers = two_layers(source)
    push(add_image(source, "x", layers), f"{public.host}/x:v1", source, access)
    client = Client(parse(f"{public.host}/x"), access=access)
    wanted = [layer.digest for layer in layers]
    assert have(client, [*wanted, "sha256:" + "0" * 64]) == set(wanted)


def test_index(public: Server, source: Store, store: Store, access: Access) -> None:
    layers = two_layers(source)
    images = [add_image(source, "amd", layers), add_image(source, "arm", layers, platform="linux/arm64")]
    for image in images:
        push(image, f"{public.host}/many:{image.config['architecture']}", source, access)
    push_index(images, to=parse(f"{public.host}/many:v1"), access=access)
    for image in images:
        platform = f"linux/{image.config['architecture']}"
        reference = parse(f"{public.host}/many:v1")
        pulled = pull_image(reference, name="x", platform=platform, store=store, access=access, report=Quiet())
        assert pulled.descriptor == image.descriptor


def test_many_pushes_of_one_image_at_once(public: Server, source: Store, access: Access) -> None:
    image = add_image(source, "x", [noise(source, 50_000), add_layer(source, tar_of({"a": b"b"}))])
    problems: list[Exception] = []

    def one(number: int) -> None:
        try:
            push(image, f"{public.host}/x:v{number}", source, Access(env=access.env), SMALL)
        except Exception as problem:  # noqa: BLE001 - any: the thread's end must not hide it
            problems.append(problem)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    for number in range(4):
        assert digest_of(blob(public.host, f"x/manifests/v{number}")) == image.digest


PUSH = """
import sys
from pathlib import Path
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.push import Manner, push_image
from builder.registry.upload import Limits
from builder.report import Quiet
from builder.store import Store
with Store.open(Path(sys.argv[1])) as store, store.using():
    image = store.image("x")
    manner = Manner(limits=Limits(chunk=100_000, threshold=200_000))
    push_image(image, to=parse(sys.argv[2]), store=store, access=Access(env={}), report=Quiet(), manner=manner)
"""


def start_push(store: Store, target: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", PUSH, store.root, target], env=env)


def test_resume_after_kill_9(watched: Faulty, source: Store, access: Access) -> None:
    layer = noise(source, 1_000_000)
    image = add_image(source, "x", [layer])
    chunks: list[str] = []
    held, release = threading.Event(), threading.Event()

    def before(method: str, path: str) -> None:
        if method == "PATCH":
            chunks.append(path)
            if len(chunks) == 7:
                held.set()
                release.wait(60)

    watched.before = before
    child = start_push(source, f"{watched.host}/x:v1")
    assert held.wait(60)
    child.kill()
    child.wait()
    # What the dead client's seventh request holds has not reached the registry.
    watched.before = lambda method, path: None
    begun = len(watched.log)
    push(image, f"{watched.host}/x:v1", source, access, Manner(limits=Limits(chunk=100_000, threshold=200_000)))
    release.set()
    patches = [entry for entry in watched.log[begun:] if entry[0] == "PATCH"]
    assert len(patches) == 4
    assert digest_of(blob(watched.host, f"x/blobs/{layer.digest}")) == layer.digest


def remembered(store: Store, proxy: Faulty, layer: PackedLayer, location: str, *, pid: int) -> None:
    """As if process `pid` had begun to send `layer`."""
    store.remember("upload", f"{proxy.host}/x {layer.digest}", f"{pid} {location}")


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/v2/x/blobs/uploads/gone", "/v2/x/blobs/uploads/gone", "nonsense"]
)
def test_an_upload_that_is_nowhere_any_more(watched: Faulty, source: Store, access: Access, location: str) -> None:
    layer = noise(source, 3000)
    remembered(source, watched, layer, location, pid=os.getpid())
    push(add_image(source, "x", [layer]), f"{watched.host}/x:v1", source, access, SMALL)
    assert digest_of(blob(watched.host, f"x/blobs/{layer.digest}")) == layer.digest


def test_the_upload_of_another_process_is_its_own(watched: Faulty, source: Store, access: Access) -> None:
    layer = noise(source, 3000)
    with subprocess.Popen(["sleep", "60"]) as other:
        remembered(source, watched, layer, "/v2/x/blobs/uploads/theirs", pid=other.pid)
        push(add_image(source, "x", [layer]), f"{watched.host}/x:v1", source, access, SMALL)
        other.kill()
    assert not [path for _, path, _ in watched.log if "theirs" in path]


def test_prune_waits_for_a_push(watched: Faulty, source: Store) -> None:
    layer = noise(source, 300_000)
    add_image(source, "x", [layer])
    held, release = threading.Event(), threading.Event()

    def before(method: str, path: str) -> None:
        if method == "PATCH":
            held.set()
            release.wait(60)

    watched.before = before
    child = start_push(source, f"{watched.host}/x:v1")
    assert held.wait(60)
    pruned = threading.Event()

    def prune() -> None:
        with Store.open(source.root) as other:
            other.prune(everything=True)
        pruned.set()

    thread = threading.Thread(target=prune)
    thread.start()
    time.sleep(0.3)
    assert not pruned.is_set()
    assert source.has_blob(layer.digest)
    release.set()
    assert child.wait(60) == 0
    thread.join(60)
    assert pruned.is_set()
    assert not source.has_blob(layer.digest)
    assert digest_of(blob(watched.host, f"x/blobs/{layer.digest}")) == layer.digest


def test_what_is_known_of_places(public: Server, source: Store, access: Access) -> None:
    layers = two_layers(source)
    push(add_image(source, "x", layers), f"{public.host}/team/x:v1", source, access)
    place = known.repository_of(source, digest=layers[0].digest)
    assert str(place) == f"{public.host}/team/x"
    assert known.mount_from(source, registry=public.host, digest=layers[0].digest) == "team/x"
    assert known.mount_from(source, registry="other.example", digest=layers[0].digest) is None


def test_each_blob_is_told_of_once(public: Server, source: Store, access: Access) -> None:
    image = add_image(source, "x", two_layers(source))
    told: list[Moved] = []
    pushed = push_image(
        image, to=parse(f"{public.host}/x:v1"), store=source, access=access, report=Quiet(), tell=told.append
    )
    assert sorted(moved.digest for moved in told) == sorted(moved.digest for moved in pushed.blobs)
    assert len(told) == len(image.layers) + 1
