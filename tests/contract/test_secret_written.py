"""A secret that a command wrote into a file is refused on every backend, before there is a layer of it."""

from __future__ import annotations

import base64

import pytest
from executed.bases import Lines, Step, plan_of, put_base

from builder.backends import Execution, backend
from builder.errors import BackendError, CogsmithError, LayerError
from builder.store import Store

from .cases import Way, make
from .test_contract import VARIANTS

TOKEN = b"a-t0ken/with+signs"
ENCODED = base64.b64encode(b"user:" + TOKEN + b"!").decode()
WRITES = {
    "opt/config": "mkdir -p /opt; (head -c 1048570 /dev/zero; cat /run/secrets/t) > /opt/config",  # over two pieces
    "etc/motd": f"echo 'auth = {ENCODED}' > /etc/motd",
    "root/link": "ln -s $(echo /x/$(cat /run/secrets/t)) /root/link",
}


@pytest.mark.parametrize("path", WRITES)
def test_a_written_secret_is_refused(path: str, store: Store, tar: bytes) -> None:
    given = Execution(secrets={"t": TOKEN + b"\n"})
    step = Step(WRITES[path], secrets={"t": "/run/secrets/t"})
    with pytest.raises(LayerError) as caught:
        make(plan_of(put_base(store, tar), step), way=Way("embedded"), store=store, given=given)
    assert caught.value.brief == f"`/{path}` has the value of the secret `/run/secrets/t`, and would be in the image"
    assert caught.value.hint
    assert "remove what it writes" in caught.value.hint
    said = f"{caught.value.brief}{caught.value.details}{caught.value.hint}"
    assert TOKEN.decode() not in said
    assert [file for file in store.root.rglob("*") if file.is_file() and TOKEN in file.read_bytes()] == []


@pytest.mark.parametrize("name", ["buildah", "kaniko"])
def test_whoever_ran_the_command(name: str, store: Store, tar: bytes) -> None:
    way = Way(name, settings=VARIANTS[name][0])
    given = Execution(secrets={"t": TOKEN}, settings=way.settings)
    plan = plan_of(put_base(store, tar), Step("cp /run/secrets/t /kept", secrets={"t": "/run/secrets/t"}))
    if missing := backend(name).check(plan):
        pytest.skip(missing[0])
    with pytest.raises(CogsmithError) as caught:
        make(plan, way=way, store=store, given=given)
    if "cannot run on this machine" in caught.value.brief:
        pytest.skip(str(caught.value))
    assert caught.value.brief.startswith("`/kept` has the value of the secret")


def test_what_is_removed_or_short_is_no_matter(store: Store, tar: bytes) -> None:
    step = Step("cp /run/secrets/t /kept; rm /kept; cat /run/secrets/s > /s; wc -c /run/secrets/t > /size",
                secrets={"t": "/run/secrets/t", "s": "/run/secrets/s"})  # fmt: skip
    given = Execution(secrets={"t": TOKEN, "s": b"short"})
    make(plan_of(put_base(store, tar), step), way=Way("embedded"), store=store, given=given)


def test_one_that_is_missing_is_told_before_anything_runs(store: Store, tar: bytes) -> None:
    report = Lines()
    plan = plan_of(put_base(store, tar), "echo first > /first", Step("cat /x", secrets={"t": "/x"}))
    with pytest.raises(BackendError, match="wants the secret `t`, which was not given"):
        make(plan, way=Way("embedded"), store=store, report=report, given=Execution())
    assert report.lines == []
