"""Machines that cannot run containers: one says what is missing and what to do."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder import sandbox
from builder.sandbox import explain
from builder.sandbox.explain import explain as explained
from builder.sandbox.explain import release_number

CHECK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from builder import sandbox
for problem in sandbox.check(scratch=Path(sys.argv[2])):
    print(problem)
print(sorted(path.name for path in Path(sys.argv[2]).iterdir()))
"""


def check_below(tmp_path: Path, *, setup: str, kept: str = ",+setfcap") -> str:
    """What `check` says in a user namespace of its own, after `setup` and without capabilities but `kept`."""
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    probe = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no user namespaces on this machine: {probe.stderr.strip()}")
    root = Path(sandbox.__file__).parents[2]
    bounds = "+all" if kept == ",+all" else f"-all{kept}"
    script = f'set -e; {setup}; exec setpriv --bounding-set={bounds} --inh-caps=-all "$@"'
    words = ["unshare", "-Urm", "sh", "-c", script, "sh", sys.executable, "-c", CHECK, str(root), str(tmp_path / "s")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_user_namespaces_limited_to_none(tmp_path: Path) -> None:
    said = check_below(tmp_path, setup="echo 0 > /proc/sys/user/max_user_namespaces")
    assert "this machine does not let you create user namespaces: their number is limited to 0" in said
    assert "hint: `sudo sysctl -w user.max_user_namespaces=15000`, or run as root, or `cogsmith image export`" in said
    assert said.splitlines()[-1] == "['sandbox.lock']"


def test_other_namespaces_limited_to_none(tmp_path: Path) -> None:
    said = check_below(tmp_path, setup="echo 0 > /proc/sys/user/max_pid_namespaces")
    assert "does not let you create namespaces: their number is limited (user.max_pid_namespaces)" in said
    assert "`sudo sysctl -w user.max_pid_namespaces=15000`" in said
    assert said.splitlines()[-1] == "['sandbox.lock']"


def test_root_that_may_not_map_itself(tmp_path: Path) -> None:
    said = check_below(tmp_path, setup="true", kept="")
    assert "root without the capability SETFCAP" in said
    assert said.splitlines()[-1] == "['sandbox.lock']"


def test_root_of_another_user_namespace_with_one_id(tmp_path: Path) -> None:
    """As in a rootless container without subordinate ids: root, with every capability, over one id."""
    assert check_below(tmp_path, setup="true", kept=",+all") == "['sandbox.lock']\n"


def test_without_capabilities_but_with_namespaces_all_is_well(tmp_path: Path) -> None:
    assert check_below(tmp_path, setup="true") == "['sandbox.lock']\n"


def test_full_ids_without_subordinate_ids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root needs no subordinate ids")
    monkeypatch.setenv("PATH", "/nowhere")
    problems = sandbox.check(scratch=tmp_path, ids="full")
    assert len(problems) == 1
    assert "could not find `newuidmap`" in str(problems[0])
    assert "apt install uidmap" in str(problems[0])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A kernel that says what a test wants: these machines are not to be had here."""
    files = {"/proc/sys/user/max_user_namespaces": "15000", "/proc/filesystems": "nodev\toverlay"}
    monkeypatch.setattr(explain, "read", lambda path: files.get(path, ""))
    monkeypatch.setattr(explain, "in_container", lambda: False)
    monkeypatch.setattr(explain, "capable", lambda *_: True)
    return files


@pytest.mark.parametrize(
    ("path", "value", "brief", "hint"),
    [
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "reserved for root",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "AppArmor withholds privileges",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/self/status", "Name:\tx\nSeccomp:\t2", "seccomp", "--security-opt seccomp=unconfined"),
    ],
)
@pytest.mark.parametrize("stage", ["user namespace", "id map", "mount"])
def test_causes(kernel: dict[str, str], path: str, value: str, brief: str, hint: str, stage: str) -> None:
    kernel[path] = value
    problem = explained(stage, errno.EPERM, "unshare")
    assert brief in problem.brief
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("code", "brief", "hint"),
    [
        (errno.ENODEV, "no overlay file system", "modprobe overlay"),
        (errno.EINVAL, "cannot hold overlay directories", "XDG_CACHE_HOME"),
        (errno.EPERM, "forbidden here", "podman"),
    ],
)
def test_overlays(kernel: dict[str, str], code: int, brief: str, hint: str) -> None:
    problem = explained("overlay", code, "mount overlay m overlay")
    assert brief in problem.brief
    assert hint in (problem.hint or "")


def test_releases() -> None:
    assert release_number("6.1.0-17-amd64") == (6, 1)
    assert release_number("4.18.0-513.el8.x86_64") == (4, 18)
    assert release_number("5.10-rc1") == (5, 10)
    assert release_number("odd") == (0, 0)
