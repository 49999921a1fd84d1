"""What `pip freeze` says of the packages of a lock.  No I/O; nothing of the image is run."""

from __future__ import annotations

from builder.lock import Built, Lock


def freeze(lock: Lock) -> str:
    """A line a package, in the order of the lock: `NAME==VERSION`, or `NAME @ URL` as PEP 508 and PEP 610 have it.

    An archive or a folder of the project has its version: where that was on some machine helps nobody.
    """
    built = {item.sha256: item for item in lock.built}
    return "".join(f"{wheel.name}{_place(built.get(wheel.sha256)) or f'=={wheel.version}'}\n" for wheel in lock.wheels)


def _place(built: Built | None) -> str:
    if built is None or built.source in ("sdist", "directory") or "://" not in built.url:
        return ""
    below = f"subdirectory={built.subdirectory}" if built.subdirectory else ""
    if built.source == "git":
        return f" @ git+{built.url}@{built.commit}" + (f"#{below}" if below else "")
    return f" @ {built.url}#" + "&".join([f"sha256={built.source_sha256}", *([below] if below else [])])
