"""What the maintainer scripts of a base do on a first installation, one function for each thing done.  Pure.

Which scripts do which of these stands in `builder.layers.debian.scripts`.  A model reads what it can from the script
itself (names of units, here-documents, links), so that it says what is done and the script says to what.
"""

from __future__ import annotations

import re

from builder.layers.debian.accounts import base_passwd_files, shadow_passwords, ssh_agent, subordinate_ids
from builder.layers.debian.alternatives import install_alternatives, xz_alternatives
from builder.layers.debian.certificates import install_certificates
from builder.layers.debian.pam import configure_pam
from builder.layers.debian.setup import ADMIN, Setup, commands, here_document
from builder.layers.debian.units import enable_init_script, enable_units


def base_files(setup: Setup) -> None:
    """The folders and first copies of files that `base-files` makes."""
    root = setup.root
    if not root.exists("etc/dpkg/origins/default"):
        root.symlink("etc/dpkg/origins/default", "debian")
    for words in commands(setup.script, program="install_from_default"):
        if len(words) == 2 and words[0] != "info.dir" and not root.exists(words[1]):
            root.copy(f"usr/share/base-files/{words[0]}", words[1])
    for words in commands(setup.script, program="install_directory"):
        if words[0] != "$1" and not root.is_dir(words[0]):
            root.mkdir(words[0], mode=int(words[1], 8), gid=setup.group(words[2]))
    if not root.exists("var/spool/mail"):
        root.symlink("var/spool/mail", "../mail")
    for words in commands(setup.script, program="migrate_directory"):
        root.remove(words[0])
        root.symlink(words[0], words[1])
    for words in commands(setup.script, program="install_local_dir"):
        root.mkdir(words[0])
    root.symlink("usr/local/man", "share/man")
    for words in commands(setup.script, program="ensure_file_owner_mode"):
        root.write(words[0], "", mode=int(words[2], 8), gid=setup.group(words[1].partition(":")[2]))
    if root.is_dir("usr/share/info") and not root.exists("usr/share/info/dir"):
        root.copy("usr/share/base-files/info.dir", "usr/share/info/dir")


def base_files_diversions(setup: Setup) -> None:
    """The links of other architectures' library folders, protected by `base-files` (Debian's DEP 17)."""
    for name in ("lib32", "libo32", "libx32"):
        setup.divert(f"/{name}", f"/.{name}.usr-is-merged")


def own_diversions(setup: Setup) -> None:
    """Every `dpkg-divert --add` of a script that spells out its paths."""
    for words in commands(_unrolled(setup.script), program="dpkg-divert"):
        if "--add" in words and "--divert" in words and not any("$" in word for word in words[-1:]):
            at = words.index("--divert")
            paths = [word for i, word in enumerate(words) if word.startswith("/") and i != at + 1]
            if len(paths) == 1 and "$" not in words[at + 1]:
                setup.divert(paths[0], words[at + 1])


def _unrolled(script: str) -> str:
    # `for x in a b; do ... $x ... done` with plain words, spelled out.
    def spell(found: re.Match[str]) -> str:
        return "".join(found[3].replace(f"${found[1]}", word) for word in found[2].split())

    return re.sub(r"for (\w+) in ([^;$]+); do\n(.*?)\bdone\n", spell, script, flags=re.DOTALL)


def dash_diversions(setup: Setup) -> None:
    """`/bin/sh` and its manual page, claimed by `dash` (bookworm), which holds the links itself."""
    setup.divert("/bin/sh", "/bin/sh.distrib")
    if setup.root.is_dir("usr/share/man/man1"):
        setup.divert("/usr/share/man/man1/sh.1.gz", "/usr/share/man/man1/sh.distrib.1.gz")


def shells(setup: Setup) -> None:
    """`/etc/shells` and its state, as `update-shells` of `debianutils` writes them."""
    root = setup.root
    template = "usr/share/debianutils/shells"
    folder = "usr/share/debianutils/shells.d"
    known: dict[str, None] = {}
    for path in (template, *(f"{folder}/{name}" for name in root.names(folder))):
        for line in root.read(path).decode().splitlines():
            shell = line.split("#")[0]
            if shell:
                known[shell] = None
                known[f"/{root.real(shell)}"] = None
    text = root.read(template).decode()
    listed = text.splitlines()
    root.write("etc/shells", text + "".join(f"{shell}\n" for shell in known if shell not in listed))
    root.write("var/lib/shells.state", "".join(f"{shell}\n" for shell in known))


def native_architecture(setup: Setup) -> None:
    """Dpkg's note of its own architecture (trixie)."""
    setup.root.write(f"{ADMIN}/arch-native", f"{setup.architecture}\n")


def name_service(setup: Setup) -> None:
    """`/etc/nsswitch.conf` from the package's default."""
    if not setup.root.exists("etc/nsswitch.conf"):
        setup.root.copy("usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf")


def login_log(setup: Setup) -> None:
    """An empty `/var/log/faillog` (bookworm)."""
    setup.root.write("var/log/faillog", "")


def pam_files(setup: Setup) -> None:
    """Empty `/etc/security/opasswd` and `/etc/environment`."""
    root = setup.root
    if not root.exists("etc/security/opasswd"):
        root.write("etc/security/opasswd", "", mode=0o600)
    if not root.exists("etc/environment"):
        root.write("etc/environment", "")


def python_installed(setup: Setup) -> None:
    """The note of a newly installed Python."""
    for words in commands(setup.script, program="touch"):
        setup.root.write(words[0], "")


def python_local(setup: Setup) -> None:
    """The folders of a Python below `/usr/local`; its bytecode is no part of an image."""
    found = re.search(r"localsite=(\S+)", setup.script)
    assert found is not None
    setup.root.mkdir(found[1])


def python_configuration(setup: Setup) -> None:
    """`/etc/python3/debian_config`."""
    path = "etc/python3/debian_config"
    if not setup.root.exists(path):
        setup.root.write(path, here_document(setup.script, after=f"cat > /{path} "))


def readline_configuration(setup: Setup) -> None:
    """`/etc/inputrc` from the package's default."""
    if not setup.root.exists("etc/inputrc"):
        setup.root.copy("usr/share/readline/inputrc", "etc/inputrc")


def time_zone(setup: Setup) -> None:
    """The time zone, which is UTC when nobody is asked; `/etc/timezone` where the script writes it unasked."""
    setup.root.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    if 'test -f "$DPKG_ROOT/etc/timezone"' not in setup.script:
        setup.root.write("etc/timezone", "Etc/UTC\n")


def networks(setup: Setup) -> None:
    """`/etc/networks`; `/etc/hosts` belongs to whoever runs the container."""
    if not setup.root.exists("etc/networks"):
        setup.root.write("etc/networks", here_document(setup.script, after="cat > /etc/networks "))


MODELS = {
    "alternatives": install_alternatives,
    "base-files": base_files,
    "base-files-diversions": base_files_diversions,
    "base-passwd": base_passwd_files,
    "certificates": install_certificates,
    "dash-diversions": dash_diversions,
    "diversions": own_diversions,
    "init-script": enable_init_script,
    "login-log": login_log,
    "name-service": name_service,
    "native-architecture": native_architecture,
    "networks": networks,
    "pam": configure_pam,
    "pam-files": pam_files,
    "python-configuration": python_configuration,
    "python-installed": python_installed,
    "python-local": python_local,
    "readline": readline_configuration,
    "shadow": shadow_passwords,
    "shells": shells,
    "ssh-agent": ssh_agent,
    "subordinate-ids": subordinate_ids,
    "time-zone": time_zone,
    "units": enable_units,
    "xz-alternatives": xz_alternatives,
}
"""Name of a model, as `scripts.py` writes it, to what it does."""
