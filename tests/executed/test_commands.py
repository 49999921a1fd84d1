"""Commands over a base, executed: what their layers hold, when they run again, how they fail."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from builder.backends import Execution
from builder.errors import BackendError
from builder.plan import BaseLayer
from builder.store import Store

from .bases import EPOCH, Lines, Step, base_tar, content, make, plan_of, put_base, tar_of

CHANGES = (
    "echo hello > /etc/motd; rm /srv/data/one; mkdir -m 700 /opt; echo x > /opt/x; chown 33:44 /opt/x; "
    "chmod 4755 /opt/x; ln /opt/x /opt/y; ln -s ../x /opt/l; mkfifo /opt/p; mkdir /opt/empty; echo kept > /srv/kept; "
    "touch /srv/data/two; pwd > /opt/pwd; id -u > /opt/id; echo $SOURCE_DATE_EPOCH > /opt/epoch; touch 'ünïcode '; "
    "cat /etc/resolv.conf > /opt/net"
)


def test_a_command_leaves_a_normal_delta(store: Store, base: BaseLayer) -> None:
    (layer,) = make(plan_of(base, CHANGES), store=store)
    members = tar_of(layer, store=store)
    assert list(members) == [
        "etc", "etc/motd", "opt", "opt/empty", "opt/epoch", "opt/id", "opt/l", "opt/net", "opt/p", "opt/pwd", "opt/x",
        "opt/y", "srv", "srv/data", "srv/data/.wh.one", "ünïcode ",
    ]  # fmt: skip
    assert (members["opt/x"].uid, members["opt/x"].gid, members["opt/x"].mode) == (33, 44, 0o4755)
    assert members["opt/y"].linkname == "opt/x"
    assert members["opt"].mode == 0o700
    assert {member.mtime for member in members.values()} == {EPOCH}
    assert content(layer, "opt/pwd", store=store) == b"/\n"
    assert content(layer, "opt/id", store=store) == b"0\n"
    assert content(layer, "opt/epoch", store=store) == f"{EPOCH}\n".encode()
    assert content(layer, "opt/net", store=store).strip() == Path("/etc/resolv.conf").read_bytes().strip()
    assert not list((store.root / "tmp").iterdir())


def test_each_command_sees_what_those_before_it_did(store: Store, base: BaseLayer) -> None:
    steps = [
        "rm -r /srv/data; echo 1 > /tmp/a",
        "test ! -e /srv/data; mkdir /srv/data; cat /tmp/a > /srv/data/b",
        "true",
    ]
    one, two, three = make(plan_of(base, *(f"set -e; {step}" for step in steps)), store=store)
    assert list(tar_of(one, store=store)) == ["srv", "srv/.wh.data", "tmp", "tmp/a"]
    assert list(tar_of(two, store=store)) == ["srv", "srv/data", "srv/data/b"]
    assert tar_of(three, store=store) == {}
    assert tar_of(one, store=store)["tmp"].mode == 0o1777


def test_layers_that_are_the_same(store: Store, base: BaseLayer) -> None:
    """Two empty ones, and one that undoes what was done between: an overlay takes a directory once."""
    steps = [
        "true",
        "rm -rf /a; mkdir /a",
        "touch /a/b /c",
        "true # again",
        "rm -rf /a; mkdir /a",
        "ls /a > /d; test -e /c",
    ]
    made = make(plan_of(base, *steps), store=store)
    assert made[0] == made[3]
    assert content(made[5], "d", store=store) == b""


@pytest.mark.parametrize("compression", ["plain", "zstd"])
def test_layer_formats(store: Store, base: BaseLayer, compression: str) -> None:
    gzip = make(plan_of(base, CHANGES), store=store)
    other = make(plan_of(base, CHANGES, compression=compression), store=store)  # type: ignore[arg-type]
    assert [layer.diff_id for layer in gzip] == [layer.diff_id for layer in other]
    assert [layer.digest for layer in gzip] != [layer.digest for layer in other]


def test_users_and_twice_the_same(store: Store, base: BaseLayer, tmp_path: Path, tar: bytes) -> None:
    step = "groupadd -g 1234 crew && useradd -m -u 1234 -g crew sailor && touch /home/sailor/log"
    (layer,) = make(plan_of(base, step), store=store)
    members = tar_of(layer, store=store)
    assert {"etc/passwd", "etc/group", "etc/shadow", "home/sailor"} <= members.keys()
    assert not {"etc/passwd-", "etc/shadow-", "etc/.pwd.lock"} & members.keys()
    assert members["home/sailor"].uid == 1234
    assert members["etc/shadow"].gid == 42
    assert f"sailor:!:{EPOCH // 86400}:".encode() in content(layer, "etc/shadow", store=store)
    again = make(plan_of(base, step), store=store, execution=Execution(fresh=True))
    assert again == [layer]


def test_known_layers_are_not_made_again(store: Store, base: BaseLayer) -> None:
    plan = plan_of(base, "echo 1 > /a", "echo 2 > /b")
    first, second = Lines(), Lines()
    made = make(plan, store=store, report=first)
    assert any("run 1/2: not in the cache: new" in line for line in first.lines)
    assert make(plan, store=store, report=second) == made
    assert second.lines == []
    third = Lines()
    assert make(plan, store=store, report=third, execution=Execution(fresh=True)) == made
    assert [line for line in third.lines if line.startswith("run ")] == ["run 1/2: echo 1 > /a", "run 2/2: echo 2 > /b"]


def test_a_miss_says_what_changed(store: Store, base: BaseLayer, tar: bytes) -> None:
    def why(*steps: Step | str, on: BaseLayer = base, **changes: object) -> str:
        report = Lines()
        make(plan_of(on, *steps, **changes), store=store, report=report, execution=Execution(secrets={"t": b"value"}))  # type: ignore[arg-type]
        return [line for line in report.lines if "not in the cache" in line][-1].partition("cache: ")[2]

    assert why("true # 0", "true") == "new"
    assert why("true # 1", "true") == "`RUN true # 1` below it changed"
    assert why("true # 1", "true", env=[("LANG", "C")]) == "the variable `LANG` changed"
    assert why("true # 1", "true", env=[("LANG", "C")], epoch=EPOCH - 1) == "the epoch changed"
    secrets = {"t": "/run/secrets/t"}
    assert why(Step("id")) == "new"
    assert why(Step("id", secrets=secrets)) == "its secrets changed"
    assert why(Step("id", secrets=secrets, network="none")) == "its network changed"
    other = put_base(store, tar + bytes(512))
    assert why(Step("id", secrets=secrets, network="none"), on=other) == "`base image` below it changed"


def test_output_is_shown_with_the_name_of_the_step(store: Store, base: BaseLayer) -> None:
    report = Lines()
    step = r"printf 'one\n  two\r\npro\rgress\n\033[31mred\033[0m'; echo three >&2; yes | head -c 20000 | tr -d '\n'"
    make(plan_of(base, "true", step), store=store, report=report)
    told = [line.removeprefix("run 2/2 | ") for line in report.lines if line.startswith("run 2/2 | ")]
    assert told[:4] == ["one", "  two", "gress", "redthree"]
    assert len("".join(told[4:])) == 10000
    assert max(map(len, told)) <= 8192


def test_a_failure_says_all_that_one_needs(store: Store, base: BaseLayer) -> None:
    steps = ("echo fine", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; echo more $i; echo less $i; done; exit 3")
    with pytest.raises(BackendError) as caught:
        make(plan_of(base, *steps), store=store)
    problem = caught.value
    assert problem.brief.startswith("a command of `build.run` failed: `for i in")
    lines = (problem.details or "").splitlines()
    assert "less 9" in lines
    assert "line 1" not in lines
    assert lines[-2] == "ended with exit code 3"
    assert lines[-1].startswith("command: /bin/sh -c 'for i in 1 2")
    assert "--debug-shell" in (problem.hint or "")
    assert not list((store.root / "tmp").iterdir())
    # The one before it is kept.
    report = Lines()
    with pytest.raises(BackendError):
        make(plan_of(base, *steps), store=store, report=report)
    assert not [line for line in report.lines if line.startswith("run 1/2")]


def test_without_network(store: Store, base: BaseLayer) -> None:
    see = "ls /sys/class/net > /links; cat /etc/resolv.conf > /names"
    (alone,) = make(
        plan_of(base, Step("cat /proc/net/dev > /dev.txt; cat /etc/resolv.conf > /names", network="none")), store=store
    )
    (host,) = make(plan_of(base, see), store=store)
    devices = content(alone, "dev.txt", store=store).decode().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert content(alone, "names", store=store) == b""
    assert content(host, "names", store=store).strip() == Path("/etc/resolv.conf").read_bytes().strip()


def test_a_c_program(store: Store, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    base = put_base(store, base_tar(compiler=True))
    compile_it = (
        "printf 'int puts(const char*); int main(void) { puts(\"hi\"); return 0; }' > /tmp/a.c && "
        "gcc -O2 -o /usr/local/bin/hi /tmp/a.c && rm /tmp/a.c"
    )
    plan = plan_of(base, f"mkdir -p /usr/local/bin && {compile_it}", "hi > /said")
    program, said = make(plan, store=store)
    assert content(said, "said", store=store) == b"hi\n"
    members = tar_of(program, store=store)
    assert members["usr/local/bin/hi"].mode == 0o755
    assert not [name for name in members if name.startswith("tmp/")]
    assert make(plan, store=store, execution=Execution(fresh=True)) == [program, said]


def test_a_base_that_lacks_the_shell(store: Store) -> None:
    from builder.errors import SandboxError

    with pytest.raises(SandboxError, match="could not run `/bin/sh`"):
        make(plan_of(put_base(store, bytes(1024)), "true"), store=store)


def test_another_machine(store: Store, base: BaseLayer) -> None:
    import dataclasses

    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    with pytest.raises(BackendError, match="cannot run on this machine") as caught:
        make(dataclasses.replace(plan_of(base, "true"), platform=f"linux/{other}"), store=store)
    assert other in (caught.value.details or "")
