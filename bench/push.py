"""Pushes against `curl`, `skopeo copy` and `buildah push`, side by side, to an empty registry on loopback.

    python bench/push.py [--megabytes 1700] [--runs 3] [--json]

1. cold: an image of that size in layers like a model's, against the same blobs by `curl` (POST and PUT, five at once),
   `skopeo copy` and `buildah push` of the same image; seconds of the median run, and our peak memory;
2. warm: one file of a project changed, then `cogsmith push`, against `buildah bud --layers` and `buildah push`;
3. empty machine: a torch project of 1.7 GB (`--requirements`) with a lock, and a registry that has its layers; one file
   changed, then `cogsmith push --locked`, against the least that `buildah` must do there: `bud` of that file on the
   pushed image, and `push`.  Seconds, and the bytes that a proxy in front of the registry counts.

Needs docker-registry, curl, skopeo, buildah; what is absent is left out, aloud.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
SHARES = (47, 23, 12, 6, 6, 3, 3)
"""Percent of the image in each layer: a framework, its libraries, and what is small."""
TORCH = "torch==2.13.0 nvidia-cudnn-cu13 nvidia-cublas nvidia-cufft opencv-python-headless"
"""Where the index has the CPU's build of torch, an image of 1.7 GB; where it has that for CUDA, a larger one."""
BLOCK = 1_000_448
"""Bytes of noise written at once: whole tar blocks."""
CURL = """one() { l=$(curl -s -D- -o/dev/null -X POST "http://$1/v2/curl/big/blobs/uploads/" -H 'Content-Length: 0' \\
 | tr -d '\\r' | sed -n 's/^Location: //p'); curl -sf -o/dev/null -X PUT "$l&digest=sha256:$2" -T "$3/$2" \\
 -H 'Content-Type: application/octet-stream'; }; export -f one; ls -S "$2" | xargs -P 5 -I{} bash -c "one $1 {} $2" """


def run(*argv: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, argv)], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


@contextlib.contextmanager
def registry(work: Path) -> Iterator[str]:
    """An empty registry; its host."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(dir=work))
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/")
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()
        shutil.rmtree(folder)


class Counter:
    """A proxy in front of a registry that counts what the registry sends and receives."""

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self.up = self.down = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                upstream = socket.create_connection(self._target)
                threading.Thread(target=self._copy, args=(client, upstream, "up"), daemon=True).start()
                threading.Thread(target=self._copy, args=(upstream, client, "down"), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                setattr(self, way, getattr(self, way) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._server.close()


def cogsmith(*argv: str | Path, cache: Path, cwd: Path | None = None) -> str:
    # A machine whose shells forbid bytecode would compile the program at every start.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env = {**kept, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    return run(sys.executable, "-m", "builder.cli", *argv, env=env, cwd=cwd)


def image_of(work: Path, megabytes: int) -> Path:
    """A cache with the image `big`, of random bytes."""
    from small_images import add_image

    from builder import oci
    from builder.store import Store

    cache = work / "cache"
    layers = []
    with Store.open(cache / "cogsmith") as store:
        for share in SHARES:
            # Gzip in stored blocks, as our layers of wheels and weights are in effect: nobody compresses them again.
            member, blocks = tarfile.TarInfo(f"weights/{len(layers)}"), max(1, megabytes * share // 100)
            member.size = blocks * BLOCK
            packer, inner = zlib.compressobj(0, wbits=31), hashlib.sha256()
            with store.writer() as out:
                for piece in (member.tobuf(), *(b"" for _ in range(blocks)), bytes(1024)):
                    data = piece or os.urandom(BLOCK)
                    inner.update(data)
                    out.write(packer.compress(data))
                out.write(packer.flush())
                digest, size = out.commit()[:2]
            media_type = oci.LAYER_MEDIA_TYPES["gzip"]
            layer = oci.PackedLayer(
                digest=digest, diff_id=f"sha256:{inner.hexdigest()}", size=size, media_type=media_type
            )
            layers.append(layer)
        add_image(store, "big", layers)
    return cache


def cold(work: Path, *, megabytes: int, runs: int) -> dict[str, float]:
    cache = image_of(work, megabytes)
    root, storage = cache / "cogsmith", work / "containers"
    buildah = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")]
    tools: dict[str, Callable[[str], object]] = {
        "cogsmith": lambda host: cogsmith("push", "--image", "big", f"{host}/ours/big:v1", cache=cache),
        "curl": lambda host: run("bash", "-c", CURL, "bash", host, root / "blobs/sha256"),
        "skopeo": lambda host: run(
            *("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false"),
            *(f"oci:{root}:big:latest", f"docker://{host}/skopeo/big:v1"),
        ),
    }
    if shutil.which("buildah"):
        run(*buildah, "pull", f"oci:{root}:big:latest")
        pulled = run(*buildah, "images", "-q").split()[0]
        tools["buildah"] = lambda host: run(*buildah, "push", "--tls-verify=false", pulled, f"{host}/buildah/big:v1")
    times: dict[str, list[float]] = {name: [] for name in tools if name == "cogsmith" or shutil.which(name)}
    for _ in range(runs):
        for name, seconds in times.items():
            with registry(work) as host:
                seconds.append(timed(lambda: tools[name](host)))  # noqa: B023
            if name == "cogsmith" and len(seconds) == 1:
                peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if shutil.which("buildah"):
        run(*buildah, "rmi", "--all", "--force")
    found = {f"{name}_seconds": statistics.median(seconds) for name, seconds in times.items()}
    return {**found, "cogsmith_megabytes_of_memory": peak}


def warm(work: Path, *, runs: int) -> dict[str, float]:
    """A change of one file; the base and the packages are the same small thing on both sides."""
    ours, theirs = work / "ours", work / "theirs"
    shutil.copytree(ROOT / "examples" / "hello-world", ours)
    theirs.mkdir()
    cache, storage = work / "warm", work / "containers"
    buildah = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")]
    (theirs / "big").write_bytes(os.urandom(20_000_000))
    (theirs / "Containerfile").write_text("FROM scratch\nCOPY big /big\nCOPY run.py /src/run.py\n")
    shutil.copy(ours / "run.py", theirs)
    seconds: dict[str, list[float]] = {"cogsmith": [], "buildah": []}
    with registry(work) as host:

        def push_ours() -> None:
            cogsmith("push", f"{host}/ours/hello:v1", cache=cache, cwd=ours)

        def push_theirs() -> None:
            name = f"{host}/theirs/hello:v1"
            run(*buildah, "bud", "--quiet", "--isolation", "chroot", "--layers", "-t", name, theirs)
            run(*buildah, "push", "--quiet", "--tls-verify=false", name)

        cogsmith("lock", cwd=ours, cache=cache)
        pairs: list[tuple[str, Path, Callable[[], None]]] = [("cogsmith", ours, push_ours)]
        if shutil.which("buildah"):
            pairs.append(("buildah", theirs, push_theirs))
        for _, _, push in pairs:
            push()
        for number in range(runs):
            for name, folder, push in pairs:
                with (folder / "run.py").open("a") as file:
                    file.write(f"# {number}\n")
                seconds[name].append(timed(push))
    if shutil.which("buildah"):
        run(*buildah, "rmi", "--all", "--force")
    return {f"{name}_seconds": statistics.median(values) for name, values in seconds.items() if values}


def empty(work: Path, *, runs: int, requirements: str) -> dict[str, float]:
    """A project on torch that another machine has pushed, then a change of its code on a machine with nothing."""
    project = work / "torch"
    project.mkdir()
    (project / "cog.yaml").write_text(
        'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
    )
    (project / "requirements.txt").write_text("\n".join(requirements.split()) + "\n")
    shutil.copy(ROOT / "examples" / "hello-world" / "run.py", project)
    cogsmith("lock", cwd=project, cache=work / "full")
    with registry(work) as host, contextlib.closing(Counter(host)) as counter:
        pushed = f"{counter.host}/team/torch"
        cogsmith("push", f"{pushed}:v1", cwd=project, cache=work / "full")
        shutil.rmtree(work / "full")
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        address = urllib.request.Request(f"http://{host}/v2/team/torch/manifests/v1", headers=accept)
        image = json.loads(urllib.request.urlopen(address).read())
        found = {"image_megabytes": sum(layer["size"] for layer in image["layers"]) / 1e6}

        def measured(name: str, action: Callable[[Path], object], *, times: int) -> None:
            names = ("seconds", "megabytes_received", "megabytes_sent")
            values: list[tuple[float, float, float]] = []
            for number in range(times):
                with (project / "run.py").open("a") as file:
                    file.write(f"# {name} {number}\n")
                machine = work / f"{name}{number}"
                counter.up = counter.down = 0
                seconds = timed(lambda: action(machine))  # noqa: B023
                values.append((seconds, counter.down / 1e6, counter.up / 1e6))
                shutil.rmtree(machine)
            for what, column in zip(names, zip(*values, strict=True), strict=True):
                found[f"{name}_{what}"] = statistics.median(column)

        def ours(machine: Path) -> None:
            cogsmith("push", "--locked", f"{pushed}:v2", cwd=project, cache=machine)

        def theirs(machine: Path) -> None:
            buildah = ["buildah", "--root", str(machine / "root"), "--runroot", str(machine / "run")]
            (project / "Containerfile").write_text(f"FROM {pushed}:v1\nCOPY run.py /src/run.py\n")
            build = ["bud", "--quiet", "--isolation", "chroot", "--tls-verify=false", "-t", f"{pushed}:v3", project]
            run(*buildah, *build)
            run(*buildah, "push", "--quiet", "--tls-verify=false", f"{pushed}:v3")
            run(*buildah, "rmi", "--all", "--force")

        measured("cogsmith", ours, times=runs)
        if shutil.which("buildah"):
            measured("buildah", theirs, times=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1700)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requirements", default=TORCH, help="of the project of the third part (default: %(default)s)")
    parser.add_argument("--only", choices=["cold", "warm", "empty"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for name in ("docker-registry", "curl", "skopeo", "buildah"):
        if shutil.which(name) is None:
            print(f"{name} is not installed", file=sys.stderr)
    # No underscores, as mkdtemp has: the folder becomes part of a reference, where buildah does not take them all.
    work = Path(tempfile.gettempdir()) / f"benchpush{secrets.token_hex(6)}"
    work.mkdir(mode=0o700)
    runs = arguments.runs
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "cold": lambda: cold(work, megabytes=arguments.megabytes, runs=runs),
        "warm": lambda: warm(work, runs=runs),
        "empty": lambda: empty(work, runs=runs, requirements=arguments.requirements),
    }
    try:
        found = {name: part() for name, part in parts.items() if arguments.only in (None, name)}
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, values in found.items():
        print(name)
        for label, value in values.items():
            print(f"  {label.replace('_', ' '):32} {value:8.2f}")


if __name__ == "__main__":
    main()
