"""Run a command in a container of our own: namespaces and an overlay, no daemon, no root needed.

Imports `errors` only.  Nothing survives the process that started it, not even when that one is killed.
"""

from builder.sandbox.explain import kernel_release
from builder.sandbox.model import Directory, Host, Ids, Mount, Network, Overlay, Spec
from builder.sandbox.start import (
    DEVNULL,
    Child,
    all_ids,
    check,
    host_files,
    missing_ids,
    privileged,
    remove_tree,
    run,
    start,
    terminal_given,
)
from builder.sandbox.work import Work, check_ids, ids_name, work

__all__ = [
    "DEVNULL",
    "Child",
    "Directory",
    "Host",
    "Ids",
    "Mount",
    "Network",
    "Overlay",
    "Spec",
    "Work",
    "all_ids",
    "check",
    "check_ids",
    "host_files",
    "ids_name",
    "kernel_release",
    "missing_ids",
    "privileged",
    "remove_tree",
    "run",
    "start",
    "terminal_given",
    "work",
]
