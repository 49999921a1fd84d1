"""Which maintainer scripts are known, and what each does when its package is installed for the first time.  Pure.

A script is known by the SHA-256 of its text.  Before hashing, two things are blanked that cannot change what a script
does on a first installation: the package's own version number (compared with the installed version on upgrades, or
printed) and the version of debhelper in the comments it leaves.  So a security update that changes nothing else stays
known.  Anything else that changes makes the script unknown, and the base is then configured by its own dpkg.
"""

from __future__ import annotations

import hashlib
import re

from builder.layers.deb import Control
from builder.layers.debian.table import TABLE
from builder.layers.debian.table_system import SYSTEM

KINDS = ("config", "preinst", "postinst")
"""The scripts that run on a first installation (deb-config(5), deb-preinst(5), deb-postinst(5))."""


def identity(control: Control, kind: str) -> str:
    """The hash by which the script `kind` of a package is known."""
    text = control.files[kind].data
    version = control.fields["Version"].encode()
    if len(version) > 2 and not version.isalnum():  # a version `1` would blank much else
        text = re.sub(rb"(?<![\w.+~$-])" + re.escape(version) + rb"(?![\w.+~-])", b"@VERSION@", text)
    text = re.sub(rb"^(# (?:Automatically added by|Triggers added by) dh_\w+)/\S+$", rb"\1", text, flags=re.MULTILINE)
    return hashlib.sha256(text).hexdigest()


def models_of(control: Control, kind: str) -> tuple[str, ...] | None:
    """Names of the models of a script, none where it does nothing; `None` for an unknown script."""
    if kind not in control.files:
        return ()
    digest = identity(control, kind)
    return TABLE.get(digest, SYSTEM.get(digest))


def unknown_script(control: Control) -> str | None:
    """The first script of a package that is not known (`postinst`), or nothing."""
    return next((kind for kind in KINDS if models_of(control, kind) is None), None)
