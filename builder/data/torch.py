"""What the rows of `cuda.json` say of PyTorch and TensorFlow before anything is resolved: builds and Pythons.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.version import Version

from builder.data.cuda import major, minor, tensorflow_row, torch_of, torch_row


def torch_backend(version: str | None, *, cuda: str | None) -> str:
    """Which builds of PyTorch to take for a GPU: `cu121`; empty: those of the usual index.

    As Cog chooses: the newest CUDA of that version that is no newer than `cuda`; without `cuda` the newest, but only
    for versions whose usual builds are for CUDA 10, which no GPU since 2020 runs.  What the table does not know is
    taken at its word.
    """
    row = torch_row(version) if version else None
    if row is None:
        return f"cu{major(cuda)}{cuda.split('.')[1]}" if cuda else ""
    if cuda is None and major(row["default"]) != "10":
        return ""
    fitting = [have for have in row["cuda"] if cuda is None or Version(have) <= Version(minor(cuda))]
    if not fitting:
        return ""
    newest = str(max(fitting, key=Version))
    return "cu" + newest.replace(".", "")


def pinned_torch(pins: Mapping[str, str]) -> str | None:
    """The torch that requirements pin, or that a pinned torchvision is for; None where neither is known."""
    return pins.get("torch") or torch_of(pins.get("torchvision", "")) or None


def python_trouble(pins: Mapping[str, str], *, python: str) -> str | None:
    """Why packages at these versions cannot be had for `python` (`3.12`), as far as the table knows."""
    for name, version in pins.items():
        row = torch_row(version) if name == "torch" else tensorflow_row(version) if name == "tensorflow" else None
        if row and python not in row["pythons"]:
            known = ", ".join(row["pythons"])
            return f"{name} {version} is incompatible with Python {python}: there are builds for Python {known}"
    return None
