"""The rows of `builder/data/cuda.json` beside what a Python package index says: metadata and names of wheels.

Reads the index that pip and uv are set to; downloads no wheel.  Changes nothing: a person decides what a row is to be.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from builder.data import cuda
from builder.errors import CogsmithError
from builder.frozen import frozen
from builder.report import Report
from builder.resolve import metadata, uv, wheels
from builder.resolve.indexes import uv_environment
from builder.resolve.sessions import session_factory
from builder.store import Store

PARALLEL = 4
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?|cuda-toolkit")
_CUDNN = re.compile(r"nvidia-cudnn(-cu\d+)?")


@frozen
class Difference:
    """One thing that the table and the index say differently; `table` is empty where it has no row."""

    package: str
    version: str
    field: str
    table: str
    index: str

    def __str__(self) -> str:
        if not self.table:
            return f"{self.package} {self.version} has no row: {self.index}"
        return f"{self.package} {self.version}: {self.field} is {self.table} in the table, {self.index} in the index"


@frozen
class _Known:
    """What the index says of one version."""

    version: str
    pythons: tuple[str, ...]
    requires: tuple[str, ...]


Look = Callable[[str, str], "_Known | None"]


def compare(
    *, env: Mapping[str, str], store: Store, report: Report, only: Sequence[str] = ()
) -> tuple[Difference, ...]:
    """All differences, in the order of the table.

    `only` names packages (`torch`), or one version of one (`torch==2.9.0`), to look at these alone.  Raises
    `ResolveError` where the index cannot be asked at all.
    """
    environment = uv_environment(env, report=report)
    new_session = session_factory(environment)
    wanted = [name.partition("==") for name in only]

    def is_wanted(package: str, version: str = "") -> bool:
        return not wanted or any(name == package and (not pinned or pinned == version) for name, _, pinned in wanted)

    def look(requirement: str, python: str) -> _Known | None:
        with store.scratch() as scratch:
            # A late patch release: some files begin at one (`>=3.6.2`).
            arguments = ["--no-deps", "--universal", "--python-version", f"{python}.99"]
            try:
                lock = uv.compile_lock([requirement], scratch=scratch, arguments=arguments, env=environment)
            except CogsmithError as problem:
                explained = uv.explained(problem, target="comparison")  # type: ignore[arg-type]
                if isinstance(explained, wheels.UnsatisfiableError):
                    return None
                raise explained from problem
            offers = next(iter(wheels.offers(lock, folder=scratch).values()), [])
        return _known(offers, store=store, new_session=new_session)

    kinds: tuple[tuple[str, Callable[..., Iterator[Difference]]], ...] = (
        ("torch", _torch),
        ("tensorflow", _tensorflow),
        ("jax", _jax),
    )
    checks: list[Callable[[], Iterator[Difference]]] = []
    for kind, check in kinds:
        rows = [row for row in cuda.table()[kind] if is_wanted(kind, row["version"])]
        checks += [functools.partial(check, row, look=look) for row in rows]
    checks += [functools.partial(_newer, name, look=look) for name in ("torch", "tensorflow") if is_wanted(name)]
    uv.program()  # looks at `sysconfig`, which two threads must not be the first to do
    found: list[Difference] = []
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        for number, differences in enumerate(pool.map(lambda check: list(check()), checks), start=1):
            found += differences
            report.advance("comparing with the index", number, len(checks))
    return tuple(found)


def _known(offers: Sequence[wheels.Offer], *, store: Store, new_session: Callable[[], Any]) -> _Known | None:
    linux = [offer for offer in offers if _is_for_linux(offer.filename)]
    if not linux:
        return None
    made, remotes = wheels.complete([linux[0]], store=store, new_session=new_session)
    read = metadata.read_all(made, remotes=remotes, store=store, new_session=new_session)
    return _Known(
        version=linux[0].version,
        pythons=tuple(sorted({python for offer in linux for python in _pythons(offer.filename)}, key=Version)),
        requires=next(iter(read.values())).requires if read else (),
    )


def _tags(filename: str) -> list[Tag]:
    """The tags of a wheel that are for Linux on amd64; free-threaded Pythons apart."""
    try:
        tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return []
    return [tag for tag in tags if re.fullmatch(r"any|(many)?linux.*_x86_64", tag.platform) and tag.abi[-1:] != "t"]


def _is_for_linux(filename: str) -> bool:
    return bool(_tags(filename))


def _pythons(filename: str) -> list[str]:
    """The Pythons (`3.11`) that a wheel names; none, if it is for all of them (`py3`)."""
    found = [re.fullmatch(r"cp(\d)(\d+)", tag.interpreter) for tag in _tags(filename)]
    return [f"{match[1]}.{match[2]}" for match in found if match]


def _torch(row: Mapping[str, Any], *, look: Look) -> Iterator[Difference]:
    version = row["version"]
    known = look(f"torch=={version}", row["pythons"][0])
    if known is None:
        yield Difference(package="torch", version=version, field="version", table="there", index="gone")
        return
    yield from _same("torch", version, "Python", row["pythons"], known.pythons)
    runtime, cudnn = _required(known.requires, _RUNTIME), _required(known.requires, _CUDNN)
    if runtime:
        yield from _same("torch", version, "CUDA", [row["default"]], [cuda.minor(runtime)])
    if cudnn:
        yield from _same("torch", version, "cuDNN", [row.get("cudnn", "none")], [cudnn])
    for other in ("torchvision", "torchaudio"):
        for own in row[other]:
            there = look(f"{other}=={own}", row["pythons"][0])
            if there is None:
                yield from _same(other, own, "torch", [version], ["gone"])
            elif not _allows(there.requires, "torch", version=version):
                needs = _required(there.requires, re.compile("torch")).partition("+")[0]
                yield from _same(other, own, "torch", [version], [needs])


def _tensorflow(row: Mapping[str, Any], *, look: Look) -> Iterator[Difference]:
    version = row["version"]
    known = look(f"tensorflow=={version}.*", row["pythons"][0])
    if known is None:
        yield Difference(package="tensorflow", version=version, field="version", table="there", index="gone")
        return
    if not set(known.pythons) <= set(row["pythons"]):  # the row is of all patch releases, this the last of them
        yield from _same("tensorflow", version, "Python", row["pythons"], known.pythons)
    runtime, cudnn = _required(known.requires, _RUNTIME), _required(known.requires, _CUDNN)
    if runtime:
        yield from _same("tensorflow", version, "CUDA", [row["cuda"]], [cuda.minor(runtime)])
    if cudnn:
        yield from _same("tensorflow", version, "cuDNN", [row["cudnn"]], [cuda.minor(cudnn)])


def _jax(row: Mapping[str, Any], *, look: Look) -> Iterator[Difference]:
    version, plugin = row["version"], row["plugin"]
    known = look(f"{plugin}=={version}", row["pythons"][0])
    if known is None:
        yield Difference(package=plugin, version=version, field="version", table="there", index="gone")
        return
    yield from _same(plugin, version, "Python", row["pythons"], known.pythons)
    runtime = _required(known.requires, _RUNTIME)
    if runtime:
        yield from _same(plugin, version, "CUDA", [row["cuda"]], [cuda.minor(runtime)])


def _newer(package: str, *, look: Look) -> Iterator[Difference]:
    """Versions that came after the newest row, from the newest of them down to the oldest."""
    rows = [row["version"] for row in cuda.table()[package]]
    newest = max(rows, key=Version)
    bound = f">{newest}" if package == "torch" else f">={newest.split('.')[0]}.{int(newest.split('.')[1]) + 1}"
    known_pythons = cuda.table()[package][-1]["pythons"]
    python = known_pythons[len(known_pythons) // 2]  # neither one that goes nor one that is still to come
    below = ""
    while (known := look(f"{package}{bound}{below}", python)) is not None:
        runtime, cudnn = _required(known.requires, _RUNTIME), _required(known.requires, _CUDNN)
        says = [f"CUDA {cuda.minor(runtime)}"] if runtime else []
        says += [f"cuDNN {cudnn}"] if cudnn else []
        says.append(f"Python {', '.join(known.pythons)}")
        yield Difference(package=package, version=known.version, field="row", table="", index="; ".join(says))
        below = f",<{known.version}"


def _required(requires: Iterable[str], pattern: re.Pattern[str]) -> str:
    """The version that `Requires-Dist` names for a package: the exact one, else the least."""
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if pattern.fullmatch(canonicalize_name(requirement.name)):
            for specifier in requirement.specifier:
                if specifier.operator in ("==", ">=", "~="):
                    return specifier.version
    return ""


def _allows(requires: Iterable[str], name: str, *, version: str) -> bool:
    """Whether what a wheel requires leaves this version of a package; also where it requires none."""
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == name and version not in requirement.specifier:
            return False
    return True


def _same(package: str, version: str, field: str, table: Sequence[str], index: Sequence[str]) -> Iterator[Difference]:
    if list(table) != list(index):
        yield Difference(
            package=package, version=version, field=field, table=", ".join(table), index=", ".join(index) or "none"
        )
