"""Why a sandbox could not start, and what to do instead.  Reads /proc only; imports `errors`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builder.errors import SandboxError

ELSEWHERE = "run as root, or `cogsmith image export` the image and run it with podman or docker"
CONTAINER = (
    "docker and podman: `--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined`; Kubernetes: `securityContext: {seccompProfile: {type: Unconfined}, "
    "appArmorProfile: {type: Unconfined}, procMount: Unmasked}`"
)
CAP_SETFCAP = 31


def read(path: str) -> str:
    """A small file of the kernel; empty if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def in_container() -> bool:
    """Is this process itself in a container, as far as one can tell."""
    marks = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")
    return any(Path(mark).exists() for mark in marks)


def capable(*capabilities: int) -> bool:
    """Has this process all these capabilities, by number, in its own user namespace."""
    lines = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    effective = int(lines.get("CapEff", "0"), 16)
    return all(effective >> capability & 1 for capability in capabilities)


def explain(stage: str, code: int, text: str) -> SandboxError:
    """The error for a stage of the child program that failed with errno `code` on `text`."""
    details = f"{text}: {os.strerror(code)}" if code else text
    denied = code in (errno.EPERM, errno.EACCES)
    if stage == "id map" and denied and os.geteuid() == 0 and not capable(CAP_SETFCAP):
        return SandboxError(
            "root without the capability SETFCAP cannot run containers",
            details=details,
            hint="run as an ordinary user (Kubernetes: `runAsUser: 1000`), or add the capability SETFCAP",
        )
    if stage == "namespaces" and code == errno.ENOSPC:
        names = ("pid", "mnt", "ipc", "uts", "net")
        limits = [f"user.max_{name}_namespaces" for name in names]
        found = [limit for limit in limits if read(f"/proc/sys/{limit.replace('.', '/')}") == "0"] or limits
        return SandboxError(
            f"this machine does not let you create namespaces: their number is limited ({', '.join(found)})",
            details=details,
            hint=f"`sudo sysctl -w {found[0]}=15000`, or {ELSEWHERE}",
        )
    if stage in ("user namespace", "id map") or (denied and stage in ("namespaces", "mount")):
        cause, hint = no_user_namespace(code)
        return SandboxError(
            f"this machine does not let you create user namespaces: {cause}", details=details, hint=hint
        )
    if stage == "overlay":
        cause, hint = no_overlay(code)
        return SandboxError(f"could not mount the image's layers: {cause}", details=details, hint=hint)
    if stage == "proc" and denied:
        return SandboxError("could not mount /proc in the container", details=details, hint=CONTAINER)
    if stage == "exec":
        why = "it is not in the image" if code == errno.ENOENT else os.strerror(code).lower()
        return SandboxError(f"could not run `{text}` in the container: {why}", hint=exec_hint(code))
    if stage == "mount source":
        return SandboxError(
            f"could not mount `{text}` in the container: {os.strerror(code).lower()}",
            hint="it must be there, and you must be allowed to read it",
        )
    if stage == "mount target":
        return SandboxError(
            f"could not make the mount point `{text}` in the container",
            details=os.strerror(code),
            hint="name another place in the image: a part of this one is a file there",
        )
    if stage == "user":
        return SandboxError(
            f"the image's user `{text}` is not in its /etc/passwd or /etc/group",
            hint="add the user in a command of `build.run`, or take another base image",
        )
    if stage == "cwd":
        return SandboxError(
            f"could not enter the working directory `{text}` in the container",
            details=os.strerror(code),
            hint="it must be a folder, and the image's user must be allowed in",
        )
    return SandboxError(f"could not set up the container ({stage})", details=details, hint=ELSEWHERE)


def exec_hint(code: int) -> str | None:
    """What usually makes exec(2) fail."""
    if code == errno.ENOEXEC:
        return "the program is for another architecture, or a script without a `#!` line"
    if code == errno.ENOENT:
        return "check its spelling and the image's PATH; for a script, the interpreter in its `#!` line is missing"
    return None


def no_user_namespace(code: int) -> tuple[str, str]:
    """Cause and cure of a user namespace that could not be had, from what the kernel tells."""
    limit = read("/proc/sys/user/max_user_namespaces")
    if limit == "0" or code == errno.ENOSPC:
        what = "their number is limited to 0" if limit == "0" else "their number or nesting has reached its limit"
        return f"{what} (user.max_user_namespaces)", f"`sudo sysctl -w user.max_user_namespaces=15000`, or {ELSEWHERE}"
    if not Path("/proc/self/ns/user").exists() or code == errno.EINVAL:
        return "the kernel was built without them", ELSEWHERE
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return (
            "they are reserved for root (kernel.unprivileged_userns_clone)",
            f"`sudo sysctl -w kernel.unprivileged_userns_clone=1`, or {ELSEWHERE}",
        )
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        cure = "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give the Python interpreter an "
        cure += f"AppArmor profile with `userns,`, or {ELSEWHERE}"
        return "AppArmor withholds privileges in them (kernel.apparmor_restrict_unprivileged_userns)", cure
    if in_container() or "\nSeccomp:\t2" in read("/proc/self/status"):
        return "the container or service it runs in forbids them (seccomp or AppArmor)", CONTAINER
    if Path("/proc/self/root").readlink() != Path("/"):
        return "this process runs in a chroot", ELSEWHERE
    return "permission denied", ELSEWHERE


def no_overlay(code: int) -> tuple[str, str]:
    """Cause and cure of an overlay that could not be mounted."""
    release = os.uname().release
    known = any(line.split()[-1] == "overlay" for line in read("/proc/filesystems").splitlines())
    if code == errno.ENODEV or (not known and code == errno.EPERM):
        return "the kernel has no overlay file system, or it is not loaded", f"`sudo modprobe overlay`, or {ELSEWHERE}"
    if code in (errno.EPERM, errno.EACCES):
        if kernel_release() < (5, 11):
            return f"Linux {release} lets only root mount an overlay (from 5.11 on, everybody)", ELSEWHERE
        return "mounting is forbidden here (seccomp, AppArmor or SELinux)", CONTAINER if in_container() else ELSEWHERE
    if code == errno.ENOSPC:
        return "no space left on the device", "free some space, or `cogsmith cache prune`"
    if code == errno.EINVAL:
        return "the cache directory's file system cannot hold overlay directories", "set XDG_CACHE_HOME to a local disk"
    return os.strerror(code).lower(), ELSEWHERE


def kernel_release() -> tuple[int, int]:
    """Major and minor number of the running Linux."""
    return release_number(os.uname().release)


def release_number(release: str) -> tuple[int, int]:
    """`6.1.0-17-amd64` as (6, 1)."""
    major, _, rest = release.partition(".")
    minor = rest.split(".")[0].split("-")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
