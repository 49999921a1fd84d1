"""deb-systemd-helper(1) and update-rc.d(8): the links that enable a unit or an init script.  Pure."""

from __future__ import annotations

import re

from builder.errors import LayerError
from builder.layers.debian.setup import Setup, commands

STATE = "var/lib/systemd/deb-systemd-{}-enabled"


def enable_units(setup: Setup) -> None:
    """Carry out every `deb-systemd-helper enable` of a script, of the system's units and of each user's (`--user`)."""
    for words in commands(setup.script, program="deb-systemd-helper"):
        asked = [word for word in words if word != "--user"]
        if asked and asked[0] == "enable":
            for unit in asked[1:]:
                _enable(setup, unit, whose="user" if "--user" in words else "system")


def _enable(setup: Setup, unit: str, *, whose: str) -> None:
    root = setup.root
    path = f"/lib/systemd/system/{unit}" if whose == "system" else f"/usr/lib/systemd/user/{unit}"
    if not root.exists(path):
        raise LayerError(f"`{setup.package.name}` enables the unit `{unit}`, which it does not hold")
    text = root.read(path).decode("utf-8")
    links = []
    for field, folder in (("WantedBy", "wants"), ("RequiredBy", "requires")):
        for value in re.findall(rf"^\s*{field}=(.+)$", text, re.MULTILINE):
            links += [f"{target}.{folder}/{unit}" for target in value.split()]
    state = STATE.format("helper" if whose == "system" else "user-helper")
    for link in links:
        root.symlink(f"etc/systemd/{whose}/{link}", path)
        root.write(f"{state}/{link}", "")
    root.write(f"{state}/{unit}.dsh-also", "".join(f"/etc/systemd/{whose}/{link}\n" for link in links))


def enable_init_script(setup: Setup) -> None:
    """`update-rc.d NAME defaults`, for scripts that start in one run level and stop in others (LSB comments)."""
    root = setup.root
    for words in commands(setup.script, program="update-rc.d"):
        name = words[0]
        if words[1:2] != ["defaults"] or not root.is_executable(f"etc/init.d/{name}"):
            continue
        text = root.read(f"etc/init.d/{name}").decode("utf-8")
        for field, letter in (("Default-Start", "S"), ("Default-Stop", "K")):
            found = re.search(rf"^# {field}:[ \t]*(.*)$", text, re.MULTILINE)
            for level in found[1].split() if found else ():
                root.symlink(f"etc/rc{level}.d/{letter}01{name}", f"../init.d/{name}")
