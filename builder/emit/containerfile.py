"""A Containerfile that builds the same model with `buildah bud`, `podman build` or `docker build`.

The same versions by the same hashes, the same layout and the same server; not the same digest, for those tools write
their own layers.  The build context is the project's folder, with its `.dockerignore`.
"""

from __future__ import annotations

import base64
import io
import lzma
import shlex
import tarfile
from collections.abc import Iterable, Iterator, Mapping

from builder.config import Config
from builder.emit.words import (
    PIECE,
    continued,
    environment,
    escaped,
    image_reference,
    json_words,
    public_url,
    quoted,
    run,
    templates,
)
from builder.lock import DebianBase, Lock
from builder.plan import ImageConfig, Wheel

WORDS = 20
"""Words of one command: Linux takes 128 KiB in one argument, and `RUN` makes one of all."""

_DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-venv", "tini")


def containerfile(
    config: Config, lock: Lock, *, image: ImageConfig, runtime: Mapping[str, bytes], schema: str | None
) -> str:
    """The text.

    `image` is the image's configuration as the plan has it, `runtime` the files of the SDK and the server by path,
    `schema` the text of the model's OpenAPI document.
    """
    urls = {remote.sha256: remote.urls for remote in lock.remotes}
    debian = isinstance(lock.base, DebianBase)
    architecture = lock.platform.partition("/")[2]
    base = (
        f"docker.io/library/debian:{lock.base.suite}-slim"
        if isinstance(lock.base, DebianBase)
        else image_reference(lock.base)
    )
    return (
        templates()
        .get_template("containerfile.j2")
        .render(
            platform=lock.platform,
            architecture=architecture,
            base=base,
            debian_packages=[*_DEBIAN_PACKAGES] if debian else [],
            system_packages=[shlex.quote(word) for line in config.system_packages for word in line.split()],
            python=lock.interpreter.path,
            minor=lock.interpreter.minor,
            wheels=[quoted(line) for line in _requirements(lock.wheels, urls=urls)],
            server_wheels=[quoted(line) for line in _requirements(lock.runtime_wheels, urls=urls)],
            runtime=list(_in_commands(base64.b64encode(_archive(runtime)).decode())),
            commands=commands(config),
            env=environment(image.env),
            labels=[(name, continued(escaped(value))) for name, value in image.labels],
            schema=None if schema is None else list(_in_commands(schema)),
            entrypoint=json_words(image.entrypoint),
            command=json_words(image.cmd),
            user=image.user,
            port=image.exposed_ports[0].partition("/")[0],
            version=lock.runtime_version,
        )
    )


def _requirements(wheels: Iterable[Wheel], *, urls: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Lines for pip: each wheel by its address, or by name where it has none that others can reach; always by hash."""
    for wheel in wheels:
        public = public_url(urls.get(wheel.sha256, ()))
        what = f"{wheel.name} @ {public}" if public else f"{wheel.name}=={wheel.version}"
        yield f"{what} --hash=sha256:{wheel.sha256}"


def commands(config: Config) -> list[str]:
    """`build.run` and `build.pre_install`, as the operands of `RUN`."""
    own = [run(item.command, mounts=item.mounts) for item in config.commands]
    return [*own, *(run(command) for command in config.pre_install)]


def _archive(files: Mapping[str, bytes]) -> bytes:
    """The files as tar.xz: the same bytes for the same files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def _in_commands(text: str) -> Iterator[list[str]]:
    """The text as quoted words of a shell, a list for each command."""
    words = [quoted(text[start : start + PIECE]) for start in range(0, len(text), PIECE)]
    for start in range(0, len(words), WORDS):
        yield words[start : start + WORDS]
