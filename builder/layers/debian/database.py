"""dpkg's database as dpkg leaves it after everything is installed (dpkg(1), deb-triggers(5)).  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from builder.layers.debian.unpack import Package, Unpacked
from builder.layers.root import Root

ADMIN = "var/lib/dpkg"

_BEFORE = (
    *("Package", "Essential", "Protected", "Status", "Priority", "Section", "Installed-Size", "Origin", "Maintainer"),
    *("Bugs", "Architecture", "Multi-Arch", "Source", "Version", "Replaces", "Provides", "Depends", "Pre-Depends"),
    *("Recommends", "Suggests", "Breaks", "Conflicts", "Enhances", "Conffiles"),
)
"""The fields of a stanza of `status` in dpkg's order; `Description` and all others follow."""

_RELATIONS = frozenset(_BEFORE[14:23])


def write_database(packages: Iterable[Package], *, root: Root, unpacked: Unpacked, architecture: str) -> None:
    """Write `status`, `info/` and `triggers/`; `diversions` and `alternatives/` belong to the models of scripts."""
    ordered = sorted(packages, key=lambda package: package.name)
    root.write(f"{ADMIN}/arch", f"{architecture}\n")
    root.write(f"{ADMIN}/status", "".join(f"{_stanza(package, root=root)}\n" for package in ordered))
    root.write(f"{ADMIN}/info/format", "1\n")
    for package in ordered:
        _write_info(package, root=root, paths=unpacked.lists[package.name])
    _write_triggers(ordered, root=root)
    for name in ("lock", "lock-frontend"):
        root.write(f"{ADMIN}/{name}", "", mode=0o640)
    root.write(f"{ADMIN}/triggers/Lock", "", mode=0o600)
    root.write(f"{ADMIN}/triggers/Unincorp", "")
    for name in ("alternatives", "parts", "updates"):
        root.mkdir(f"{ADMIN}/{name}")


def info_name(package: Package) -> str:
    """The stem of a package's files in `info/`: with the architecture where several can be installed side by side."""
    fields = package.control.fields
    return f"{package.name}:{fields['Architecture']}" if fields.get("Multi-Arch") == "same" else package.name


def _stanza(package: Package, *, root: Root) -> str:
    fields: Mapping[str, str] = {
        **package.control.fields,
        "Status": "install ok installed",
        "Conffiles": _conffiles(package, root=root),
    }
    others = [name for name in package.control.fields if name not in _BEFORE and name != "Description"]
    lines = []
    for name in (*_BEFORE, "Description", *others):
        value = fields.get(name, "")
        if not value:
            continue
        if name in _RELATIONS:
            value = _relations(value)
        lines.append(f"{name}:{value}\n" if value.startswith("\n") else f"{name}: {value}\n")
    return "".join(lines)


def _relations(value: str) -> str:
    groups = (" ".join(group.split()) for group in value.split(","))
    return ", ".join(" | ".join(item.strip() for item in group.split("|")) for group in groups if group)


def _conffiles(package: Package, *, root: Root) -> str:
    kept = "".join(f"\n {path} {_md5(path, root=root)}" for path in conffiles(package))
    return kept + "".join(f"\n {path} newconffile {_REMOVED}" for path in conffiles(package, removed=True))


_REMOVED = "remove-on-upgrade"


def conffiles(package: Package, *, removed: bool = False) -> list[str]:
    """Absolute paths of the configuration files of a package, in its order; or of those that it no longer has."""
    file = package.control.files.get("conffiles")
    if file is None:
        return []
    lines = file.data.decode("utf-8", errors="surrogateescape").splitlines()
    return [line.split()[-1] for line in lines if line.strip() and line.startswith(_REMOVED) == removed]


def _write_info(package: Package, *, root: Root, paths: list[str]) -> None:
    stem = f"{ADMIN}/info/{info_name(package)}"
    root.write(f"{stem}.list", "".join(f"/{path or '.'}\n" for path in paths))
    for name, file in package.control.files.items():
        if name == "control":
            continue
        root.write(f"{stem}.{name}", file.data, mode=file.mode)
        node = root.node(f"{stem}.{name}")
        assert node is not None
        node.mtime = file.mtime
    if "md5sums" not in package.control.files:
        sums = ((_md5(path, root=root), path) for path in paths if _is_file(path, root=root))
        root.write(f"{stem}.md5sums", "".join(f"{digest}  {path}\n" for digest, path in sums))


def _is_file(path: str, *, root: Root) -> bool:
    node = root.node(path)
    return node is not None and node.type == "file"


def _md5(path: str, *, root: Root) -> str:
    return hashlib.md5(root.read(path), usedforsecurity=False).hexdigest()


def _write_triggers(packages: Iterable[Package], *, root: Root) -> None:
    files: list[str] = []
    explicit: dict[str, list[str]] = {}
    for package in packages:
        file = package.control.files.get("triggers")
        for line in file.data.decode("utf-8").splitlines() if file else ():
            words = line.split("#")[0].split()
            if len(words) != 2 or not words[0].startswith("interest"):
                continue
            options = "/noawait" if words[0].endswith("-noawait") else ""
            if words[1].startswith("/"):
                files.append(f"{words[1]} {info_name(package)}{options}\n")
            else:
                explicit.setdefault(words[1], []).append(f"{info_name(package)}{options}\n")
    root.write(f"{ADMIN}/triggers/File", "".join(files))
    for name, lines in explicit.items():
        root.write(f"{ADMIN}/triggers/{name}", "".join(lines))
