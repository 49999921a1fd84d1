"""What builds an image for real: a storage for buildah, the settings of this machine's pip, Kaniko in a sandbox."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from builder import sandbox


@contextlib.contextmanager
def storage(folder: Path) -> Iterator[list[str]]:
    """A container storage of the test's own, gone afterwards."""
    options = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    try:
        yield options
    finally:
        subprocess.run(["buildah", *options, "rm", "--all"], capture_output=True, check=False)
        subprocess.run(["buildah", *options, "rmi", "--all", "--force"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def pip_settings() -> tuple[dict[str, str], set[str]]:
    """Where this machine's pip looks for packages, as build arguments, and the folders that they name."""
    told = subprocess.run(["pip3", "config", "list"], capture_output=True, text=True, check=False).stdout
    found = dict(re.findall(r"(?m)^(?:global|:env:)\.(cert|find-links|index-url|extra-index-url)='(.*)'$", told))
    arguments = {f"PIP_{key.upper().replace('-', '_')}": value.replace("\\n", " ") for key, value in found.items()}
    places = re.findall(r"(?:^|\s|file://)(/[^\s]+)", " ".join(arguments.values()))
    return arguments, {"/".join(place.split("/")[:3]) for place in places}


def build_with_kaniko(executor: str, context: Path, *, scratch: Path, arguments: dict[str, str]) -> Path:
    """An OCI layout of what Kaniko makes of a folder, in a root and namespaces of its own."""
    root, kaniko = scratch / "root", scratch / "kaniko"
    for folder in (scratch, root, kaniko):
        folder.mkdir(mode=0o755)
    (root / "etc").mkdir()
    for name in ("hosts", "resolv.conf"):  # Kaniko's image has them: the sandbox fills them
        (root / "etc" / name).touch()
    spec = sandbox.Spec(
        root=sandbox.Directory(path=root),
        argv=(
            *(
                "/kaniko/executor",
                "--force",
                "--context=dir:///workspace",
                "--dockerfile=Containerfile.kaniko",
                "--no-push",
            ),
            *("--oci-layout-path=/kaniko/image", "--compression-level=1", "--verbosity=warn", "--log-format=text"),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *(f"--label={file.name}={file.read_text()}" for file in (context / "labels").iterdir()),
        ),
        env=(("HOME", "/root"), ("USER", "root"), ("PATH", "/kaniko")),  # as its image has it
        mounts=(
            sandbox.Mount(target="/kaniko", source=kaniko),
            sandbox.Mount(target="/kaniko/executor", source=Path(executor), readonly=True),
            sandbox.Mount(target="/workspace", source=context, readonly=True),
            sandbox.Mount(target="/certificates", source=Path("/etc/ssl/certs"), readonly=True),
        ),
        scratch=scratch / "sandbox",
        ids="full",
    )
    log = scratch / "log"
    with log.open("wb") as file:
        code = sandbox.run(spec, stdin=sandbox.DEVNULL, stdout=file, stderr=file)
    assert code == 0, log.read_text(errors="replace")[-3000:]
    sandbox.remove_tree(root)
    return kaniko / "image"
