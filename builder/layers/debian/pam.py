"""pam-auth-update(8) on a new system: `/etc/pam.d/common-*` and its memory in `/var/lib/pam`.  Pure."""

from __future__ import annotations

import functools
import re

from builder.layers.debian.setup import Setup

KINDS = ("auth", "account", "password", "session", "session-noninteractive")
_CONFIGS = "usr/share/pam-configs"
_PRIMARY = re.compile(r"\$\w+_primary")
_ADDITIONAL = re.compile(r"\$\w+_additional")
_LINE = re.compile(r"((?:\[[^]]+\]|\w+)\s+\S+)\s*(.*)")
_NULL = "[default=1]\t\t\tpam_permit.so"

Profile = dict[str, str]


def configure_pam(setup: Setup) -> None:
    """Enable every profile of `/usr/share/pam-configs` that is on by default, in order of priority."""
    root = setup.root
    profiles = {name: _profile(root.read(f"{_CONFIGS}/{name}").decode()) for name in root.names(_CONFIGS)}
    ordered = sorted(profiles, reverse=True)
    ordered.sort(key=lambda name: -int(profiles[name].get("Priority", "0")))
    enabled = [name for name in ordered if profiles[name].get("Default") == "yes"]
    root.write("var/lib/pam/seen", "".join(f"{name}\n" for name in ordered))
    for kind in KINDS:
        _write(setup, kind=kind, profiles=profiles, enabled=enabled)


def _write(setup: Setup, *, kind: str, profiles: dict[str, Profile], enabled: list[str]) -> None:
    field = kind[0].upper() + kind[1:]
    primary = [name for name in enabled if profiles[name].get(f"{field}-Type") == "Primary"]
    additional = [name for name in enabled if profiles[name].get(f"{field}-Type") == "Additional"]
    saved: list[str] = []
    lines = functools.partial(_lines, profiles=profiles, field=field)
    first = [(name, line) for i, name in enumerate(primary) for line in lines(name, initial=i == 0)]
    rest = [(name, line) for i, name in enumerate(additional) for line in lines(name, initial=i == 0)]
    module = None
    for name, line in (*(first or [("null", _NULL)]), *rest):
        if name != module:
            saved.append(f"Module: {name}\n")
            module = name
        saved.append(f"{line}\n")
    setup.root.write(f"var/lib/pam/{kind}", "".join(saved))
    word = kind.split("-")[0]
    text = []
    for line in setup.root.read(f"usr/share/pam/common-{kind}").decode().splitlines():
        if _PRIMARY.fullmatch(line):
            text += [f"{word}\t{_jump(item, len(first) - i)}" for i, (_, item) in enumerate(first)]
            text += [] if first else [f"{word}\t{_NULL}"]
        elif _ADDITIONAL.fullmatch(line):
            text += [f"{word}\t{_jump(item, len(rest) - 1 - i)}" for i, (_, item) in enumerate(rest)]
        else:
            text.append(line)
    setup.root.write(f"etc/pam.d/common-{kind}", "\n".join(text) + "\n")


def _jump(line: str, count: int) -> str:
    found = _LINE.match(line)
    assert found is not None
    return f"{found[1].replace('end', str(count))} {' '.join(found[2].split())}"


def _lines(name: str, *, initial: bool, profiles: dict[str, Profile], field: str) -> list[str]:
    profile = profiles[name]
    text = (profile.get(f"{field}-Initial") if initial else None) or profile.get(field, "")
    return text.split("\n") if text else []


def _profile(text: str) -> Profile:
    profile: Profile = {}
    name = ""
    for line in text.splitlines():
        head, colon, value = line.partition(":")
        if colon and " " not in head and "\t" not in head and value[:1].isspace():
            name = head.removesuffix("-Final")
            profile[name] = value.strip()
        elif colon and not value and " " not in head and "\t" not in head:
            name = head.removesuffix("-Final")
            profile[name] = ""
        elif line.strip():
            profile[name] = f"{profile.get(name, '')}\n{line.strip()}".strip("\n")
    if profile.get("Session-Interactive-Only") != "yes":
        for suffix in ("-Type", "", "-Initial"):
            if f"Session{suffix}" in profile:
                profile[f"Session-noninteractive{suffix}"] = profile[f"Session{suffix}"]
    return profile
