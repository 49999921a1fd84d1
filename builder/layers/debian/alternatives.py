"""update-alternatives(1): its links and its state file.  Pure."""

from __future__ import annotations

from builder.layers.debian.setup import ADMIN, Setup, commands
from builder.layers.root import Root


def install_alternatives(setup: Setup) -> None:
    """Carry out every `update-alternatives --install` of a script."""
    for words in commands(setup.script, program="update-alternatives"):
        if "--install" in words:
            _install(setup.root, words[words.index("--install") + 1 :])


def xz_alternatives(setup: Setup) -> None:
    """`lzma` and its family by `xz`; the script has a function that writes the words."""
    pages = "/usr/share/man/man1"
    slaves = [(pages, "lzma.1.gz", "xz.1.gz"), ("/usr/bin", "unlzma", "unxz"), (pages, "unlzma.1.gz", "unxz.1.gz")]
    for tool in ("cat", "more", "less", "diff", "cmp", "grep", "egrep", "fgrep"):
        slaves += [("/usr/bin", f"lz{tool}", f"xz{tool}"), (pages, f"lz{tool}.1.gz", f"xz{tool}.1.gz")]
    words = [
        word for folder, name, path in slaves for word in ("--slave", f"{folder}/{name}", name, f"{folder}/{path}")
    ]
    _install(setup.root, ["/usr/bin/lzma", "lzma", "/usr/bin/xz", "20", *words])


def _install(root: Root, words: list[str]) -> None:
    link, name, target, priority = words[:4]
    slaves = [(words[i + 1], words[i + 2], words[i + 3]) for i in range(4, len(words), 4) if words[i] == "--slave"]
    links, choices = _state(root, name)
    links |= {slave: place for place, slave, _ in slaves}
    choices[target] = (int(priority), {slave: path for _, slave, path in slaves if root.exists(path)})
    ordered = sorted(links)
    lines = ["auto", link, *(word for slave in ordered for word in (slave, links[slave])), ""]
    for path in sorted(choices):
        rank, own = choices[path]
        lines += [path, str(rank), *(own.get(slave, "") for slave in ordered)]
    root.write(f"{ADMIN}/alternatives/{name}", "\n".join(lines) + "\n\n")
    best = max(choices, key=lambda path: choices[path][0])
    chosen = choices[best][1]
    for place, key, path in ((link, name, best), *((links[slave], slave, chosen.get(slave, "")) for slave in ordered)):
        if path and root.exists(path):
            _link(root, f"etc/alternatives/{key}", path, like=path)
            _link(root, place, f"/etc/alternatives/{key}", like=path)
        elif key != name:  # the best one has no such page, say
            root.remove(f"etc/alternatives/{key}")
            root.remove(place)


def _link(root: Root, path: str, target: str, *, like: str) -> None:
    # A new link gets the time of what is chosen; one that is there is replaced, now, if it leads elsewhere.
    old, chosen = root.node(path), root.node(like)
    if old is None and chosen is not None:
        root.symlink(path, target, mtime=chosen.mtime)
    elif old is None or old.target != target:
        root.symlink(path, target)


def _state(root: Root, name: str) -> tuple[dict[str, str], dict[str, tuple[int, dict[str, str]]]]:
    """What is known of a name: the links of its slaves, and its choices with their priorities and slaves."""
    path = f"{ADMIN}/alternatives/{name}"
    if not root.exists(path):
        return {}, {}
    lines = root.read(path).decode("utf-8").split("\n")
    end = lines.index("", 2)
    slaves = lines[2:end:2]
    links = dict(zip(slaves, lines[3:end:2], strict=True))
    choices = {}
    at = end + 1
    while lines[at]:
        own = lines[at + 2 : at + 2 + len(slaves)]
        choices[lines[at]] = (
            int(lines[at + 1]),
            {slave: path for slave, path in zip(slaves, own, strict=True) if path},
        )
        at += 2 + len(slaves)
    return links, choices
