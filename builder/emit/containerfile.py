"""A Containerfile that builds the same model with `buildah bud`, `podman build` or `docker build`.

The same versions by the same hashes, the same layout and the same server; not the same digest, for those tools write
their own layers.  The build context is the project's folder, with its `.dockerignore`.
"""

from __future__ import annotations

import base64
import io
import lzma
import re
import shlex
import tarfile
from collections.abc import Iterable, Iterator, Mapping

from builder.config import Config
from builder.lock import DebianBase, Lock
from builder.plan import ImageConfig, Wheel

PIECE = 4000
"""Characters of a quoted word: parsers of Containerfiles and shells have limits on lines and words."""
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
    import jinja2  # late: nothing else needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("builder.emit", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  no HTML; what is quoted is quoted for the shell, below
    )
    urls = {remote.sha256: remote.urls for remote in lock.remotes}
    debian = isinstance(lock.base, DebianBase)
    architecture = lock.platform.partition("/")[2]
    base = f"docker.io/library/debian:{lock.base.suite}-slim" if isinstance(lock.base, DebianBase) else _pinned(lock)
    return environment.get_template("containerfile.j2").render(
        platform=lock.platform,
        architecture=architecture,
        base=base,
        debian_packages=[*_DEBIAN_PACKAGES] if debian else [],
        system_packages=[shlex.quote(name) for name in config.system_packages],
        python=lock.interpreter.path,
        minor=lock.interpreter.minor,
        wheels=[_quoted(line) for line in _requirements(lock.wheels, urls=urls)],
        server_wheels=[_quoted(line) for line in _requirements(lock.runtime_wheels, urls=urls)],
        runtime=list(_in_commands(base64.b64encode(_archive(runtime)).decode())),
        commands=[*_commands(config), *config.pre_install],
        env=[(name, _escaped(value)) for name, value in image.env],
        labels=[(name, _continued(_escaped(value))) for name, value in image.labels],
        schema=None if schema is None else list(_in_commands(schema)),
        entrypoint=_json(image.entrypoint),
        command=_json(image.cmd),
        user=image.user,
        port=image.exposed_ports[0].partition("/")[0],
        version=lock.runtime_version,
    )


def _pinned(lock: Lock) -> str:
    assert not isinstance(lock.base, DebianBase)
    reference = lock.base.reference
    if reference.startswith(("oci:", "oci-archive:", "docker-archive:")):
        return reference
    return f"{reference.partition('@')[0]}@{lock.base.digest}"


def _requirements(wheels: Iterable[Wheel], *, urls: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Lines for pip: each wheel by its address, or by name where it has none that others can reach; always by hash."""
    for wheel in wheels:
        public = [url for url in urls.get(wheel.sha256, ()) if url.startswith(("https://", "http://"))]
        what = f"{wheel.name} @ {public[0].partition('#')[0]}" if public else f"{wheel.name}=={wheel.version}"
        yield f"{what} --hash=sha256:{wheel.sha256}"


def _commands(config: Config) -> Iterator[str]:
    """`build.run`, as the operands of `RUN`."""
    for item in config.commands:
        mounts = "".join(f"--mount=type={m.type},id={m.id},target={m.target} " for m in item.mounts)
        yield mounts + item.command


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
    words = [_quoted(text[start : start + PIECE]) for start in range(0, len(text), PIECE)]
    for start in range(0, len(words), WORDS):
        yield words[start : start + WORDS]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """A value between double quotes of `ENV` or `LABEL`."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")


def _continued(text: str) -> str:
    """A long value on several lines: broken between two letters, where no parser sees anything else."""
    lines = []
    while len(text) > 2 * PIECE and (place := re.compile(r"[a-z](?=[a-z])").search(text, PIECE)):
        lines.append(text[: place.end()])
        text = text[place.end() :]
    return "\\\n".join([*lines, text])


def _json(words: Iterable[str]) -> str:
    import json

    return json.dumps(list(words))
