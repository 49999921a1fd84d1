"""Names of packages that no index has: what they are called now, or what was meant.  Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from builder.config.packages import Wanted
from builder.errors import ResolveError

RENAMED: dict[str, tuple[str, ...]] = {
    "libasound2": ("libasound2t64",),
    "libatlas-base-dev": ("libopenblas-dev",),
    "libavcodec-extra57": ("libavcodec-extra",),
    "libgl1-mesa-glx": ("libgl1",),
    "libgl1-mesa-dev": ("libgl-dev",),
    "libgles2-mesa": ("libgles2",),
    "libegl1-mesa": ("libegl1",),
    "libglib2.0-0": ("libglib2.0-0t64",),
    "libglapi-mesa": ("libgl1",),
    "libjpeg62-dev": ("libjpeg-dev",),
    "libjpeg8-dev": ("libjpeg-dev",),
    "libmysqlclient-dev": ("default-libmysqlclient-dev",),
    "libopenexr23": ("libopenexr-dev",),
    "libopenexr24": ("libopenexr-dev",),
    "libopenexr25": ("libopenexr-dev",),
    "libpng12-0": ("libpng16-16", "libpng16-16t64"),
    "libpng12-dev": ("libpng-dev",),
    "libpng16-16": ("libpng16-16t64",),
    "libssl1.0-dev": ("libssl-dev",),
    "libssl1.0.0": ("libssl3", "libssl3t64"),
    "libssl1.1": ("libssl3", "libssl3t64"),
    "libssl3": ("libssl3t64",),
    "libtiff4-dev": ("libtiff-dev",),
    "libtiff5": ("libtiff6",),
    "libtiff5-dev": ("libtiff-dev",),
    "libtinfo5": ("libtinfo6",),
    "libncurses5": ("libncurses6",),
    "libncurses5-dev": ("libncurses-dev",),
    "libncursesw5-dev": ("libncurses-dev",),
    "libffi6": ("libffi8",),
    "libffi7": ("libffi8",),
    "libopenmpi3": ("libopenmpi3t64", "libopenmpi40"),
    "netcat": ("netcat-openbsd",),
    "python": ("python3", "python-is-python3"),
    "python-dev": ("python3-dev",),
    "python-opencv": ("python3-opencv",),
    "python-pip": ("python3-pip",),
    "python3-distutils": ("python3-setuptools",),
    "qt5-default": ("qtbase5-dev",),
    "ttf-dejavu": ("fonts-dejavu",),
    "ttf-freefont": ("fonts-freefont-ttf",),
    "libappindicator1": ("libayatana-appindicator3-1",),
    "libwebkit2gtk-4.0-37": ("libwebkit2gtk-4.1-0",),
    "libavresample-dev": ("libswresample-dev",),
    "libindicator7": ("libayatana-indicator3-7",),
}
"""What packages that models name are called since: those that exist of the new names are pointed out.

From Debian's and Ubuntu's release notes and their transitional packages; `t64` is the transition to 64-bit times."""


def unknown(
    wanted: Sequence[Wanted], *, names: Callable[[], Sequence[str]], has: Callable[[str], bool], where: str
) -> ResolveError:
    """The error for packages that are not in an index of `names`; `where` says whose."""
    lines = []
    for item in wanted:
        heirs = [name for name in RENAMED.get(item.name, ()) if has(name)]
        if heirs:
            lines.append(f"`{item.name}` is gone: {' and '.join(f'`{heir}`' for heir in heirs[:1])} takes its place")
            continue
        near = _near(item.name, names())
        lines.append(f"`{item.name}`: did you mean {near}?" if near else f"`{item.name}`")
    count = f"{len(wanted)} packages of" if len(wanted) > 1 else f"`{wanted[0].name}` of"
    return ResolveError(
        f"{count} `build.system_packages` cannot be had in {where}",
        details="\n".join(lines),
        hint="correct the names in `cog.yaml`",
    )


def _near(name: str, names: Sequence[str]) -> str:
    # Comparing with tens of thousands of names takes seconds: only with those that begin alike or hold the name.
    stem = re.sub(r"[0-9.+-]+$", "", name)
    likely = [other for other in names if other[:2] == name[:2] and abs(len(other) - len(name)) < 6]
    found = difflib.get_close_matches(name, likely, n=3, cutoff=0.75)
    inside = [other for other in names if stem and len(stem) > 3 and (other == f"lib{name}" or other == stem)]
    return " or ".join(f"`{other}`" for other in dict.fromkeys([*inside, *found][:3]))
