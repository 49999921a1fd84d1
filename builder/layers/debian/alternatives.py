"""update-alternatives(1): its links and its state file.  Pure."""

from __future__ import annotations

from builder.layers.debian.setup import ADMIN, Setup, commands


def install_alternatives(setup: Setup) -> None:
    """Carry out every `update-alternatives --install` of a script; each name has one provider in a new system."""
    for words in commands(setup.script, program="update-alternatives"):
        if words and words[0] == "--install":
            _install(setup, words[1:])


def _install(setup: Setup, words: list[str]) -> None:
    link, name, target, priority = words[:4]
    slaves = [tuple(words[i + 1 : i + 4]) for i in range(4, len(words), 4) if words[i] == "--slave"]
    root = setup.root
    slaves.sort(key=lambda slave: slave[1])
    state = ["auto", link]
    for slave_link, slave_name, _ in slaves:
        state += [slave_name, slave_link]
    state += ["", target, priority]
    state += [slave_target if root.exists(slave_target) else "" for _, _, slave_target in slaves]
    root.write(f"{ADMIN}/alternatives/{name}", "\n".join(state) + "\n\n")
    for path, key, destination in ((link, name, target), *slaves):
        node = root.node(destination, follow=True)
        if node is not None:
            root.symlink(f"etc/alternatives/{key}", destination, mtime=node.mtime)
            root.symlink(path, f"/etc/alternatives/{key}", mtime=node.mtime)
