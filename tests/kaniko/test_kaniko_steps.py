"""Kaniko's executor: what it is told, what is read of what it leaves, and what is said when it fails.

With a stand-in for the program where the program is not what is tested, and with the real one where it is given.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from executed.bases import Lines, plan_of, tar_of
from executed.bases import Step as Command

from builder.backends import Execution, embedded, kaniko
from builder.backends.kaniko_steps import Kaniko, dockerfile, exit_code, layer_of
from builder.backends.output import Tail
from builder.backends.steps import Step
from builder.errors import BackendError
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Plan
from builder.report import Report
from builder.store import Store


def step(command: str, **env: str) -> Step:
    return Step(
        what="a command", argv=("/bin/sh", "-c", command), shown=command, env=tuple(env.items()), network="none"
    )


def parsed(text: str) -> list[tuple[str, str]]:
    """Instructions as a Dockerfile's parser reads them: continued lines joined, comments gone."""
    joined = text.replace("\\\n", "")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


@pytest.mark.parametrize(
    "command",
    [
        "echo one",
        "cat > /x <<EOF\n# no comment\n$HOME \\\nEOF\n",
        "echo \"it's\" 'ünï' \\",
        '["exec", "form"]',
        "echo " + "ab 'c' \\n <<x #y " * 20_000,
    ],
    ids=["plain", "here-document", "quotes", "a list", "340 KB"],
)
def test_the_command_arrives_as_it_is(command: str) -> None:
    text = dockerfile(step(command, PATH="/bin"))
    ((name, rest),) = parsed(text)[-1:]
    assert name == "RUN"
    assert json.loads(rest) == ["/bin/sh", "-c", command]
    assert max(map(len, text.splitlines())) < 65_000
    assert "<<" not in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("#")]


def test_variables_are_named_and_not_spelled_out() -> None:
    text = dockerfile(step("true", PATH='/a"b:/$c', HOME="/root", VALUE="two\nlines $HOME"))
    assert parsed(text)[:-1] == [
        ("FROM", "scratch"), ("ARG", "HOME"), ("ARG", "VALUE"), ("ENV", 'PATH="/a\\"b:/\\$c"'),
    ]  # fmt: skip


def tail(*lines: str) -> Tail:
    made = Tail()
    for line in lines:
        made.add(line)
    return made


def test_whose_failure_it_was() -> None:
    ended = "error building image: failed to execute command: waiting for process to exit: "
    assert exit_code(tail("out", f"{ended}exit status 3")) == 3
    assert exit_code(tail(f"{ended}signal: killed")) == 137
    assert exit_code(tail("error building image: failed to take snapshot: no space left on device")) is None


def layout(folder: Path, layers: list[bytes]) -> Path:
    """An OCI layout of these layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifest = put(json.dumps({"layers": [put(layer) for layer in layers]}).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder


def packed(*names: str, compress: bool = True) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return gzip.compress(stream.getvalue()) if compress else stream.getvalue()


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_the_layer_that_holds_something(tmp_path: Path) -> None:
    """Some builds of Kaniko add empty layers."""
    image = layout(tmp_path / "image", [packed(), packed("a", "b"), packed(compress=False)])
    assert names(layer_of(image, work=tmp_path)) == ["a", "b"]
    assert names(layer_of(layout(tmp_path / "none", []), work=tmp_path)) == []


def test_a_layout_that_was_tampered_with(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(packed("not for the image"))

    def refused(image: Path) -> str:
        with pytest.raises(BackendError) as caught:
            layer_of(image, work=tmp_path)
        assert caught.value.brief == "what Kaniko left is no image"
        return str(caught.value.details)

    assert "2 layers" in refused(layout(tmp_path / "two", [packed("a"), packed("b")]))
    image = layout(tmp_path / "link", [packed("a")])
    for blob in (image / "blobs" / "sha256").iterdir():
        if blob.read_bytes()[:1] == b"\x1f":
            blob.unlink()
            blob.symlink_to(secret)
    assert "is a link" in refused(image)
    image = layout(tmp_path / "folders", [packed("a")])
    (image / "blobs").rename(tmp_path / "elsewhere")
    (image / "blobs").symlink_to(tmp_path / "elsewhere")
    assert "`blobs` is a link" in refused(image)
    (image / "index.json").write_text('{"manifests": [{"digest": "sha256:../../x"}]}')
    assert "is no digest" in refused(image)
    (image / "index.json").write_text("[]")
    refused(image)
    (tmp_path / "whole").symlink_to(image)
    assert "`whole` is a link" in refused(tmp_path / "whole")
    assert "there is no `index.json`" in refused(tmp_path / "absent")
    cut = layout(tmp_path / "cut", [packed("a" * 90, "b" * 90)[:-12]])
    assert "damaged" in refused(cut)


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for given, said in (
        (None, "could not find Kaniko's `executor`"),
        (str(tmp_path / "no"), f"there is no `{tmp_path}/no`"),
    ):
        with pytest.raises(BackendError) as caught:
            kaniko.find(given)
        assert said in caught.value.brief
        assert "COGSMITH_KANIKO_EXECUTOR" in str(caught.value.hint)
    program = tmp_path / "executor"
    program.write_text("#!/bin/sh\nexit 4\n")
    with pytest.raises(BackendError, match="cannot be executed"):
        kaniko.find(str(program))
    program.chmod(0o755)
    assert kaniko.find(None) == kaniko.find("executor") == kaniko.find(str(program)) == program


def make(
    plan: Plan, *, store: Store, program: Path | str, report: Report | None = None, secrets: Mapping[str, bytes] = {}
) -> list[PackedLayer]:
    """The layers that the commands made."""
    given = Execution(settings={"kaniko_executor": str(program)}, secrets=secrets)
    made = kaniko.make(
        plan, store=store, local={}, fetch=lambda _: {}, threads=2, report=report or Lines(), execution=given
    )
    return list(made[1:])


STAND_IN = """#!/bin/sh
[ "$1" = version ] && exit 0
echo "arguments: $*"
echo "environment: $(/usr/bin/env | /usr/bin/sort | /usr/bin/tr '\\n' ' ')"
PATH=/usr/bin
echo "folder: $(ls -A /kaniko | tr '\\n' ' ')"
echo "here: $(pwd) $(umask) $(id -u)"
echo "secret: $(cat /run/t)"
cat /kaniko/context/Dockerfile
echo "error building image: waiting for process to exit: exit status 7" >&2
exit 1
"""


def test_what_the_program_is_given(store: Store, base: BaseLayer, tmp_path: Path) -> None:
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    assert Kaniko(program=str(program)).check(plan_of(base), scratch=tmp_path / "scratch") == []
    report = Lines()
    wanted = plan_of(base, Command("echo $VALUE", secrets={"t": "/run/t"}), env=[("VALUE", "a b\nc")])
    with pytest.raises(BackendError) as caught:
        make(wanted, store=store, program=program, report=report, secrets={"t": b"s3cret-value"})
    assert "a command of `build.run` failed: `echo $VALUE`" in caught.value.brief
    assert "ended with exit code 7" in str(caught.value.details)
    told = [line.removeprefix("run 1/1 | ") for line in report.lines if line.startswith("run 1/1 | ")]
    said = dict(line.partition(": ")[::2] for line in told)
    words = shlex.split(said["arguments"].replace("'", ""))
    assert {"--no-push", "--force", "--snapshot-mode=full", "--oci-layout-path=/kaniko/image"} <= set(words)
    assert not {"--reproducible", "--use-new-run"} & {word.partition("=")[0] for word in words}
    assert "--build-arg=VALUE=a" in words
    assert "DOCKER_CONFIG=/kaniko/.docker HOME=/root PATH=/kaniko" in said["environment"]
    assert said["folder"].split() == ["context", "executor"]  # no credentials
    assert said["here"] == "/ 0022 0"
    assert said["secret"] == "***"
    assert told[-2] == f"RUN {json.dumps(['/bin/sh', '-c', 'echo $VALUE'])}"
    assert not any("s3cret" in line for line in (*report.lines, str(caught.value)))


def test_a_program_that_is_not_kaniko(store: Store, base: BaseLayer, tmp_path: Path) -> None:
    program = tmp_path / "executor"
    program.write_text("#!/bin/sh\necho what? >&2\nexit 2\n")
    program.chmod(0o755)
    with pytest.raises(BackendError) as caught:
        make(plan_of(base, "true"), store=store, program=program)
    assert "is not Kaniko's executor" in str(caught.value.details)
    program.write_text("#!/bin/sh\n[ $1 = version ] || { echo snapshot: no space >&2; exit 1; }\n")
    with pytest.raises(BackendError, match="Kaniko could not run a command") as caught:
        make(plan_of(base, "true"), store=store, program=program)
    assert "snapshot: no space" in str(caught.value.details)


@pytest.mark.tool
def test_the_real_one(store: Store, base: BaseLayer, executor: str) -> None:
    """Beyond the contract: nothing changed, odd commands and variables, a failure, a command that lies in wait."""
    odd = Command(
        'printf "%s" "$ODD" > /odd; cat > /here <<EOF\n#x $HOME\nEOF\ncat /run/t > /dev/null', secrets={"t": "/run/t"}
    )
    kernel = "! (: >> /proc/sys/kernel/core_pattern) && ! (: >> /sys/power/state) && ! mount -t tmpfs x /tmp"
    commands = (Command("true"), odd, Command(kernel), Command("rm /here; mkdir -p /var/run/x; touch /var/run/x/y"))
    wanted = plan_of(base, *commands, env=[("ODD", 'it\'s\n"odd" $HOME \\ ü')])
    by_kaniko = make(wanted, store=store, program=executor, secrets={"t": b"s3cret-value"})
    assert tar_of(by_kaniko[0], store=store) == {}
    assert {"odd", "here"} <= tar_of(by_kaniko[1], store=store).keys()
    by_us = embedded.make(
        wanted, store=store, local={}, fetch=lambda _: {}, threads=2, report=Lines(),
        execution=Execution(secrets={"t": b"s3cret-value"}, fresh=True),
    )  # fmt: skip
    assert list(by_us[1:]) == by_kaniko
    with pytest.raises(BackendError) as caught:
        make(plan_of(base, "echo last words; exit 3"), store=store, program=executor)
    assert "ended with exit code 3" in str(caught.value.details)
    assert "last words" in str(caught.value.details)
    # A command that puts a link to this machine's file where the image will be.
    with pytest.raises(BackendError):
        hostile = "mkdir -p /kaniko/image; cd /kaniko/image; ln -s /etc/passwd index.json; ln -s /etc blobs"
        make(plan_of(base, hostile), store=store, program=executor)
