"""The text form of a lock: PEP 751, validated by `packaging.pylock`.  No I/O."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import tomli_w

from builder.errors import LockError
from builder.lock import LOCK_FORMAT, Built, Cuda, DebianBase, ImageBase, Lock
from builder.lock.built import built_package, is_built, read_built
from builder.lock.tables import array, malformed, mapping, read, table, text
from builder.oci import PackedLayer
from builder.plan import Compiler, Deb, Interpreter, PythonArchive, Remote, Wheel

OWN = "tool.cogsmith"

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

Item = TypeVar("Item", Deb, Wheel, PythonArchive)


def dumps(lock: Lock, *, folder: Path | None) -> str:
    """See `builder.lock.dumps`."""
    named = {item.sha256: _remote_name(item) for item in _items(lock)}
    remotes: dict[str, Remote] = {}
    others = []
    for remote in lock.remotes:
        # what a wheel or a deb says of itself need not be said twice
        if remote.urls and named.get(remote.sha256) == (remote.name, remote.size) and remote.sha256 not in remotes:
            remotes[remote.sha256] = remote
        else:
            others.append(remote)
    built = {item.sha256: item for item in lock.built}
    own = {
        "format": LOCK_FORMAT,
        "config-hash": lock.config_hash,
        "platform": lock.platform,
        "interpreter": table(lock.interpreter),
        "runtime": {
            "version": lock.runtime_version,
            **({"build": lock.runtime_build} if lock.runtime_build else {}),
            "wheels": [_file(wheel, remotes=remotes) for wheel in lock.runtime_wheels],
        },
        "base": _base(lock.base, remotes=remotes),
        **({"python": _file(lock.python, remotes=remotes)} if lock.python else {}),
        **(
            {"system-packages": [_file(deb, remotes=remotes) for deb in lock.system_packages]}
            if lock.system_packages
            else {}
        ),
        **({"cuda": table(lock.cuda)} if lock.cuda else {}),
        **({"compilers": [_compiler(item, remotes=remotes) for item in lock.compilers]} if lock.compilers else {}),
        "layers": [{"key": key, **table(packed)} for key, packed in lock.layers],
        "remotes": [table(remote) for remote in others],
    }
    document = {
        "lock-version": "1.0",
        "environments": [_environment(lock)],
        "requires-python": _requires_python(lock),
        "created-by": "cogsmith",
        "packages": [
            _package(wheel, built=built.get(wheel.sha256), remotes=remotes, folder=folder) for wheel in lock.wheels
        ],
        "tool": {"cogsmith": own},
    }
    return tomli_w.dumps(document)


def loads(source: str, *, folder: Path | None) -> Lock:
    """See `builder.lock.loads`."""
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as problem:
        raise LockError("the lock file is not TOML", details=str(problem), hint="run `cogsmith lock`") from problem
    own = mapping(mapping(document.get("tool", {}), where="tool").get("cogsmith"), where=OWN)
    if own.get("format") != LOCK_FORMAT:
        raise LockError(
            f"the lock file has format {own.get('format')!r}, and this release reads {LOCK_FORMAT}",
            hint="make it again with `cogsmith lock`",
        )
    _validate(document)
    remotes = [read(Remote, item, where=at) for at, item in array(own.get("remotes"), where=f"{OWN}.remotes")]
    runtime = mapping(own.get("runtime"), where=f"{OWN}.runtime")
    built: list[Built] = []
    lock = Lock(
        config_hash=text(own, "config-hash", where=OWN),
        platform=text(own, "platform", where=OWN),
        interpreter=read(Interpreter, own.get("interpreter"), where=f"{OWN}.interpreter"),
        base=_read_base(own.get("base"), remotes=remotes),
        wheels=tuple(
            _read_package(item, where=at, remotes=remotes, folder=folder, built=built)
            for at, item in array(document.get("packages"), where="packages")
        ),
        runtime_version=text(runtime, "version", where=f"{OWN}.runtime"),
        runtime_build=text(runtime, "build", where=f"{OWN}.runtime") if "build" in runtime else "",
        runtime_wheels=_read_files(Wheel, runtime.get("wheels"), where=f"{OWN}.runtime.wheels", remotes=remotes),
        python=next(iter(_read_files(PythonArchive, [own["python"]], where=f"{OWN}.python", remotes=remotes)), None)
        if "python" in own
        else None,
        system_packages=_read_files(Deb, own.get("system-packages"), where=f"{OWN}.system-packages", remotes=remotes),
        cuda=read(Cuda, own["cuda"], where=f"{OWN}.cuda") if "cuda" in own else None,
        compilers=tuple(
            _read_compiler(item, where=at, remotes=remotes)
            for at, item in array(own.get("compilers"), where=f"{OWN}.compilers")
        ),
        layers=tuple(_read_layer(item, at=at) for at, item in array(own.get("layers"), where=f"{OWN}.layers")),
        remotes=tuple(sorted(set(remotes), key=lambda remote: (remote.name, remote.sha256))),
    )
    lock = dataclasses.replace(
        lock,
        built=tuple(sorted(built, key=lambda item: item.sha256)),
        remotes=tuple(sorted(set(remotes), key=lambda remote: (remote.name, remote.sha256))),
    )
    _check_hashes(lock)
    _check_agreement(lock, document)
    return lock


def _items(lock: Lock) -> Iterable[Deb | Wheel | PythonArchive]:
    if lock.python:
        yield lock.python
    yield from lock.wheels
    yield from lock.runtime_wheels
    if isinstance(lock.base, DebianBase):
        yield from lock.base.debs
    yield from lock.system_packages
    for built in lock.built:
        yield from built.requires
    for compiler in lock.compilers:
        yield from compiler.debs
        if compiler.archive:
            yield compiler.archive


def _remote_name(item: Deb | Wheel | PythonArchive) -> tuple[str, int]:
    return item.filename.rpartition("/")[2], item.size


def _environment(lock: Lock) -> str:
    os_name = lock.platform.partition("/")[0]
    return (
        f"python_version == '{lock.interpreter.minor}' and implementation_name == 'cpython'"
        f" and sys_platform == '{os_name}' and platform_machine == '{_machine(lock)}'"
    )


def _requires_python(lock: Lock) -> str:
    return f"=={lock.interpreter.minor}.*"


def _machine(lock: Lock) -> str:
    architecture = lock.platform.partition("/")[2]
    return _MACHINES.get(architecture, architecture)


def _package(
    wheel: Wheel, *, built: Built | None, remotes: Mapping[str, Remote], folder: Path | None
) -> dict[str, Any]:
    if built is not None:
        return built_package(wheel, built, requires=[_file(item, remotes=remotes) for item in built.requires])
    urls = remotes[wheel.sha256].urls if wheel.sha256 in remotes else ()
    place = _place(urls[0], folder=folder) if urls else {"path": wheel.filename}
    file = {"name": wheel.filename, **place, "size": wheel.size, "hashes": {"sha256": wheel.sha256}}
    package: dict[str, Any] = {"name": wheel.name, "version": wheel.version, "wheels": [file]}
    if len(urls) != 1:
        # PEP 751 has room for one URL; none at all means that nobody knows where the file is
        package["tool"] = {"cogsmith": {"urls": list(urls)}}
    return package


def _place(url: str, *, folder: Path | None) -> dict[str, str]:
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:///") else None
    if folder is not None and path is not None and path.is_relative_to(folder) and path.as_uri() == url:
        return {"path": path.relative_to(folder).as_posix()}
    return {"url": url}


def _read_package(item: Any, *, where: str, remotes: list[Remote], folder: Path | None, built: list[Built]) -> Wheel:
    if is_built(item):
        wheel, found, requires = read_built(item, where=where)
        more = _read_files(Wheel, requires, where=f"{where}.{OWN}.requires", remotes=remotes)
        built.append(dataclasses.replace(found, requires=more))
        remotes.append(Remote(sha256=wheel.sha256, size=wheel.size, name=wheel.filename, urls=()))
        return wheel
    files = array(item.get("wheels"), where=f"{where}.wheels")
    if len(files) != 1:
        raise malformed(f"{where}.wheels", "must be exactly one wheel")
    at, file = files[0]
    wheel = read(
        Wheel,
        {
            "name": item.get("name"),
            "version": item.get("version"),
            "filename": file.get("name"),
            "size": file.get("size"),
            "sha256": file.get("hashes", {}).get("sha256"),
        },
        where=at,
    )
    extra = item.get("tool", {}).get("cogsmith", {})
    if "urls" in extra:
        urls = read(Remote, {"sha256": "", "size": 0, "name": "", "urls": extra["urls"]}, where=f"{where}.{OWN}").urls
    elif "url" in file:
        urls = (file["url"],)
    else:
        urls = ((folder / file["path"]).as_uri() if folder else file["path"],)
    if urls:
        remotes.append(Remote(sha256=wheel.sha256, size=wheel.size, name=wheel.filename, urls=urls))
    return wheel


def _file(item: Deb | Wheel | PythonArchive, *, remotes: Mapping[str, Remote]) -> dict[str, Any]:
    remote = remotes.get(item.sha256)
    return {**table(item), "urls": list(remote.urls)} if remote else table(item)


def _read_files(kind: type[Item], data: Any, *, where: str, remotes: list[Remote]) -> tuple[Item, ...]:
    items = []
    for at, file in array(data, where=where):
        item = read(kind, {key: value for key, value in file.items() if key != "urls"}, where=at)
        if "urls" in file:
            name, size = _remote_name(item)
            found = {"sha256": item.sha256, "size": size, "name": name, "urls": file["urls"]}
            remotes.append(read(Remote, found, where=at))
        items.append(item)
    return tuple(items)


def _compiler(compiler: Compiler, *, remotes: Mapping[str, Remote]) -> dict[str, Any]:
    files = {"debs": [_file(deb, remotes=remotes) for deb in compiler.debs]} if compiler.debs else {}
    if compiler.archive:
        files["archive"] = [_file(compiler.archive, remotes=remotes)]
    return {"architecture": compiler.architecture, **files}


def _read_compiler(data: Mapping[str, Any], *, where: str, remotes: list[Remote]) -> Compiler:
    return Compiler(
        architecture=text(data, "architecture", where=where),
        debs=_read_files(Deb, data.get("debs"), where=f"{where}.debs", remotes=remotes),
        archive=next(
            iter(_read_files(PythonArchive, data.get("archive"), where=f"{where}.archive", remotes=remotes)), None
        ),
    )


def _base(base: DebianBase | ImageBase, *, remotes: Mapping[str, Remote]) -> dict[str, Any]:
    if isinstance(base, ImageBase):
        return {"kind": "image", **table(base)}
    return {"kind": "debian", **table(base), "debs": [_file(deb, remotes=remotes) for deb in base.debs]}


def _read_base(data: Any, *, remotes: list[Remote]) -> DebianBase | ImageBase:
    where = f"{OWN}.base"
    values = dict(mapping(data, where=where))
    match values.pop("kind", None):
        case "image":
            return read(ImageBase, values, where=where)
        case "debian":
            debs = _read_files(Deb, values.get("debs"), where=f"{where}.debs", remotes=remotes)
            return dataclasses.replace(read(DebianBase, {**values, "debs": []}, where=where), debs=debs)
        case other:
            raise malformed(f"{where}.kind", f'must be "debian" or "image", not {other!r}')


def _read_layer(item: Mapping[str, Any], *, at: str) -> tuple[str, PackedLayer]:
    values = dict(item)
    key = text(values, "key", where=at)
    del values["key"]
    return key, read(PackedLayer, values, where=at)


def _check_hashes(lock: Lock) -> None:
    for item in _items(lock):
        if not _SHA256.match(item.sha256) or item.size < 0:
            raise malformed(item.filename, "its sha256 or size is not one")
        names = (item.package, item.version, item.architecture) if isinstance(item, Deb) else (item.filename,)
        if any("/" in name for name in names):  # files are written under them
            raise malformed(item.filename, "its name is a path")


def _check_agreement(lock: Lock, document: Mapping[str, Any]) -> None:
    """Refuse what only a hand can have written: an image for one machine made of files for another, say."""
    if document.get("environments") != [_environment(lock)]:
        raise malformed("environments", f"is not for {OWN}.platform and {OWN}.interpreter.version")
    if document.get("requires-python") != _requires_python(lock):
        raise malformed("requires-python", f"does not say {OWN}.interpreter.version")
    names = [wheel.name for wheel in lock.wheels]
    for wheel in (*lock.wheels, *lock.runtime_wheels):
        tags = wheel.filename.removesuffix(".whl").rpartition("-")[2].split(".")
        if not any(tag == "any" or tag.endswith(f"_{_machine(lock)}") for tag in tags):
            raise malformed(wheel.filename, f"is not for {lock.platform}")
        if names.count(wheel.name) > 1:
            raise malformed(f"packages.{wheel.name}", "is there twice")
    if isinstance(lock.base, DebianBase):
        architecture = lock.platform.partition("/")[2]
        for deb in lock.base.debs:
            if deb.architecture not in ("all", architecture):
                raise malformed(deb.filename, f"is not for {lock.platform}")


def _validate(document: Mapping[str, Any]) -> None:
    from packaging.pylock import Pylock, PylockValidationError

    try:
        Pylock.from_dict(document)
    except PylockValidationError as problem:
        raise malformed(problem.context or "pylock", problem.message) from problem
