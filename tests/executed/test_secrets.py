"""Secrets: a command that names one reads it; nothing else ever holds it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from builder.backends import Execution
from builder.backends.output import LINE_MAX, Output
from builder.errors import BackendError
from builder.plan import BaseLayer, layer_key
from builder.store import Store

from .bases import Lines, Step, content, make, plan_of, tar_of

VALUE = b"s3cr3t-value-of-the-token"
TOLD = Execution(secrets={"token": VALUE + b"\n", "other": b"another-value"})


def test_only_the_command_that_names_it_sees_it(store: Store, base: BaseLayer) -> None:
    step = "wc -c < /run/secrets/token > /size; stat -c %a:%u /run/secrets/token > /mode; wc -c < /opt/x/y > /other"
    named = Step(f"{step}; ls /run/secrets > /names", secrets={"token": "/run/secrets/token", "other": "/opt/x/y"})
    plan = plan_of(base, named, "test ! -e /run/secrets && test ! -e /opt")
    layer, empty = make(plan, store=store, execution=TOLD)
    assert list(tar_of(layer, store=store)) == ["mode", "names", "other", "size"]
    assert content(layer, "size", store=store) == b"26\n"
    assert content(layer, "mode", store=store) == b"400:0\n"
    assert content(layer, "names", store=store) == b"token\n"
    assert tar_of(empty, store=store) == {}


def test_it_is_nowhere_afterwards(store: Store, base: BaseLayer, tmp_path: Path) -> None:
    report = Lines()
    step = Step("cat /run/secrets/token; grep -c . /run/secrets/token", secrets={"token": "/run/secrets/token"})
    plan = plan_of(base, step)
    make(plan, store=store, report=report, execution=TOLD)
    assert "run 1/1 | ***" in report.lines
    assert VALUE.decode() not in json.dumps(plan.to_json()) + "".join(report.lines)
    found = subprocess.run(["grep", "-rlaF", VALUE.decode(), store.root], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    key = layer_key(plan.layers[1], compression="gzip", codec=plan.codec)
    other = Execution(secrets={"token": b"something else altogether"})
    assert store.layer(key) is not None
    assert make(plan, store=store, execution=other) == make(plan, store=store)


def test_it_cannot_be_written(store: Store, base: BaseLayer) -> None:
    step = "! echo x > /run/secrets/token && ! rm /run/secrets/token && ! chmod 444 /run/secrets/token"
    make(plan_of(base, Step(step, secrets={"token": "/run/secrets/token"})), store=store, execution=TOLD)


def test_a_failure_does_not_show_it(store: Store, base: BaseLayer) -> None:
    step = Step("set -x; t=$(cat /run/secrets/token); test $t = no", secrets={"token": "/run/secrets/token"})
    with pytest.raises(BackendError) as caught:
        make(plan_of(base, step), store=store, execution=TOLD)
    assert "+ test *** = no" in str(caught.value)
    assert VALUE.decode() not in str(caught.value)


def test_one_that_was_not_given(store: Store, base: BaseLayer) -> None:
    with pytest.raises(BackendError, match="wants the secret `token`") as caught:
        make(plan_of(base, Step("true", secrets={"token": "/run/secrets/token"})), store=store)
    assert "--secret id=token,src=FILE" in (caught.value.hint or "")


def test_each_line_of_a_long_one_is_struck_out() -> None:
    import os

    shown: list[str] = []
    with Output(shown.append, hidden=[b"-----BEGIN KEY\nabcdef\n-----END KEY\n", b"abc"]) as output:
        os.write(output.writer, b"x abcdef y\nabc\n-----BEGIN KEY\n")
        output.read()
    assert shown == ["x *** y", "abc", "***"]


def test_one_in_an_endless_line_or_in_colours_is_struck_out() -> None:
    import fcntl
    import os

    shown: list[str] = []
    with Output(shown.append, hidden=[VALUE]) as output:
        fcntl.fcntl(output.writer, fcntl.F_SETPIPE_SZ, 1 << 18)
        os.write(output.writer, b"x" * (8 * LINE_MAX - 8) + VALUE + b"y" * LINE_MAX + b"\n")
        os.write(output.writer, VALUE[:5] + b"\x1b[31m" + VALUE[5:] + b"\x1b[0m\n")
        output.read()
    assert shown[-1] == "***"
    assert "x***y" in "".join(shown)
    assert not any(VALUE[:8].decode() in line or VALUE[-8:].decode() in line for line in shown)
