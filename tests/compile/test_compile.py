"""Config + Lock + Source → Plan, value against value."""

from __future__ import annotations

import dataclasses
import json

import pytest

from builder.compile import LARGE_WHEEL, MAX_LAYERS, compile_plan, config_label, dump_schema
from builder.config import Command, Config, Mount
from builder.errors import ConfigError
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import (
    BaseLayer,
    BytecodeLayer,
    Codec,
    Compiler,
    Deb,
    DebianLayer,
    Entry,
    FilesLayer,
    Generated,
    Interpreter,
    Plan,
    PythonArchive,
    RunLayer,
    RuntimeLayer,
    SecretMount,
    Wheel,
    WheelsLayer,
    layer_key,
    title,
)

DEB = Deb(package="tini", version="0.19", architecture="amd64", filename="pool/tini.deb", size=3, sha256="d" * 64)
PYTHON = dataclasses.replace(DEB, package="python3.11-minimal", version="3.11.2", sha256="e" * 64)
SMALL = Wheel(name="six", version="1.17.0", filename="six.whl", size=11_000, sha256="1" * 64)
OTHER = Wheel(name="attrs", version="25.1", filename="attrs.whl", size=60_000, sha256="2" * 64)
LARGE = Wheel(
    name="torch",
    version="2.13.0",
    filename="torch-2.13.0-cp311-cp311-linux_x86_64.whl",
    size=LARGE_WHEEL,
    sha256="3" * 64,
)
SERVER = Wheel(name="fastapi", version="0.1", filename="fastapi.whl", size=9, sha256="4" * 64)
CODE = Entry(path="run.py", size=10, sha256="5" * 64)
WEIGHTS = Entry(path="weights/model.bin", size=20_000_000, sha256="6" * 64)
SDK = Entry(path="cog/__init__.py", size=1, sha256="7" * 64)

CONFIG = Config(python_version="3.11", run="run.py:Runner", environment=(("B", "2"), ("A", "1")))
LOCK = Lock(
    config_hash="0" * 64,
    platform="linux/amd64",
    interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
    base=DebianBase(suite="bookworm", architecture="amd64", debs=(DEB, PYTHON)),
    wheels=(SMALL, LARGE, OTHER),
    runtime_version="0.1.0",
    runtime_wheels=(SERVER,),
)
IMAGE_BASE = ImageBase(
    reference="localhost:5000/base:1",
    digest="sha256:" + "a" * 64,
    media_type="application/vnd.oci.image.manifest.v1+json",
    size=100,
    layers=(BaseLayer(digest="sha256:" + "b" * 64, diff_id="sha256:" + "c" * 64, size=7, media_type="tar"),),
    env=(("PATH", "/base/bin:/bin"), ("KEPT", "yes")),
    labels=(("theirs", "1"),),
    glibc="2.36",
)


def compile_it(config: Config = CONFIG, *, lock: Lock = LOCK, **given: object) -> Plan:
    arguments = {
        "code": [CODE],
        "large": [WEIGHTS],
        "runtime": [SDK],
        "schema": {"b": 1, "a": "<&>"},
        "version": "0.1.0",
    }
    return compile_plan(config, lock=lock, **{**arguments, **given})  # type: ignore[arg-type]


def test_layers_in_image_order() -> None:
    layers = [dataclasses.replace(layer, reason="") for layer in compile_it(bytecode=False).layers]
    epoch = 1735689600
    assert layers == [
        DebianLayer(suite="bookworm", architecture="amd64", debs=(DEB, PYTHON), epoch=epoch),
        WheelsLayer(prefix="/opt/venv", python="3.11", wheels=(LARGE,), epoch=epoch),
        WheelsLayer(prefix="/opt/venv", python="3.11", wheels=(OTHER, SMALL), epoch=epoch),
        RuntimeLayer(
            root="/opt/cogsmith",
            venv="/opt/venv",
            interpreter=LOCK.interpreter,
            version="0.1.0",
            files=(SDK,),
            generated=(),
            wheels=(SERVER,),
            epoch=epoch,
        ),
        FilesLayer(role="weights", root="/src", entries=(WEIGHTS,), epoch=epoch),
        FilesLayer(
            role="code",
            root="/src",
            entries=(CODE,),
            generated=(Generated(path=".cog/openapi_schema.json", text='{"b":1,"a":"\\u003c\\u0026\\u003e"}'),),
            epoch=epoch,
        ),
    ]


def test_every_layer_has_a_reason_and_a_title() -> None:
    for layer in compile_it().layers:
        assert layer.reason
        assert title(layer)


def test_a_wheel_is_shared_by_size_alone() -> None:
    alone = compile_it(lock=dataclasses.replace(LOCK, wheels=(LARGE,)))
    among = compile_it(lock=dataclasses.replace(LOCK, wheels=(LARGE, SMALL, OTHER)))
    keys = [
        {layer_key(layer, compression=p.compression, codec=p.codec) for layer in p.layers if layer.kind == "wheels"}
        for p in (alone, among)
    ]
    assert keys[0] < keys[1]


def test_at_most_a_hundred_layers() -> None:
    wheels = tuple(
        dataclasses.replace(LARGE, name=f"w{i:03}", size=LARGE_WHEEL + i, sha256=f"{i:064}") for i in range(300)
    )
    made = compile_it(lock=dataclasses.replace(LOCK, wheels=wheels), large=[WEIGHTS] * 10)
    assert len(made.layers) in (MAX_LAYERS - 1, MAX_LAYERS)  # a wheel comes with its bytecode, or not at all
    assert len(compile_it(lock=dataclasses.replace(LOCK, wheels=wheels), bytecode=False).layers) == MAX_LAYERS
    shared = [layer for layer in made.layers if isinstance(layer, WheelsLayer) and len(layer.wheels) > 1]
    assert len(shared) == 1
    assert max(w.size for w in shared[0].wheels) < min(
        layer.wheels[0].size for layer in made.layers if isinstance(layer, WheelsLayer) and len(layer.wheels) == 1
    )
    with pytest.raises(ConfigError, match="large files"):
        compile_it(large=[WEIGHTS] * 51)


def bytecode_of(plan: Plan) -> list[BytecodeLayer]:
    return [layer for layer in plan.layers if isinstance(layer, BytecodeLayer)]


def test_bytecode_stands_beside_what_it_is_of() -> None:
    library = dataclasses.replace(LARGE, name="nvidia-x", filename="nvidia_x-1-py3-none-manylinux2014_x86_64.whl")
    plan = compile_it(lock=dataclasses.replace(LOCK, wheels=(SMALL, LARGE, library)))
    torch, others, python, runtime = bytecode_of(plan)
    assert isinstance(torch.of, WheelsLayer)
    assert torch.of.wheels == (LARGE,)
    assert isinstance(others.of, WheelsLayer)
    assert others.of.wheels == (library, SMALL)  # in the order of their layers: the last of a path is in the image
    assert isinstance(python.of, DebianLayer)
    assert python.of.debs == (PYTHON,)
    assert runtime.of == dataclasses.replace(next(x for x in plan.layers if isinstance(x, RuntimeLayer)), reason="")
    assert {layer.version for layer in bytecode_of(plan)} == {"3.11.2"}
    assert {layer.compilers for layer in bytecode_of(plan)} == {(Compiler(architecture="amd64", debs=(PYTHON,)),)}
    assert not bytecode_of(compile_it(bytecode=False))
    assert not bytecode_of(compile_it(lock=dataclasses.replace(LOCK, base=IMAGE_BASE)))


def test_bytecode_of_a_wheel_is_shared() -> None:
    """By all with this wheel and this version of Python, whatever else they have and whoever compiles."""

    def keys(lock: Lock) -> set[str]:
        layers = bytecode_of(compile_it(lock=lock))
        return {layer_key(layer, compression="gzip", codec=Codec()) for layer in layers}

    archive = PythonArchive(filename="x", size=1, sha256="8" * 64)
    among = dataclasses.replace(
        LOCK, wheels=(LARGE, OTHER), compilers=(Compiler(architecture="arm64", archive=archive),)
    )
    alone = dataclasses.replace(LOCK, wheels=(LARGE,))
    assert keys(alone) < keys(among)
    newer = dataclasses.replace(LOCK.interpreter, version="3.11.3")
    assert not keys(alone) & keys(dataclasses.replace(alone, interpreter=newer)) - keys(LOCK)


def test_environment_and_contract() -> None:
    made = compile_it().config
    env = dict(made.env)
    assert env["PATH"].startswith("/opt/venv/bin:/usr/local/sbin")
    assert env["COG_PREDICT_TYPE_STUB"] == "run.py:Runner"
    assert env["PYTHONUNBUFFERED"] == "1"
    assert (env["A"], env["B"]) == ("1", "2")
    assert not env["LD_LIBRARY_PATH"].startswith(":")  # an empty element would mean the working directory
    assert made.entrypoint == ("/usr/bin/tini", "--")
    assert made.cmd == ("python", "-m", "cog.server.http")
    assert made.working_dir == "/src"
    assert made.exposed_ports == ("5000/tcp",)
    labels = dict(made.labels)
    assert labels["run.cog.has_init"] == "true"
    assert json.loads(labels["run.cog.config"]) == {
        "build": {"python_version": "3.11"},
        "predict": "run.py:Runner",
        "environment": ["B=2", "A=1"],
    }
    assert labels["run.cog.pip_freeze"] == "six==1.17.0\ntorch==2.13.0\nattrs==25.1\n"


def test_base_image() -> None:
    made = compile_it(lock=dataclasses.replace(LOCK, base=IMAGE_BASE))
    first = made.layers[0]
    assert isinstance(first, BaseLayer)
    assert first.digest == IMAGE_BASE.layers[0].digest
    env = dict(made.config.env)
    assert env["PATH"] == "/opt/venv/bin:/base/bin:/bin"
    assert env["KEPT"] == "yes"
    assert made.config.entrypoint == ()
    assert "run.cog.has_init" not in dict(made.config.labels)
    assert dict(made.config.labels)["theirs"] == "1"
    assert dict(made.config.annotations)["org.opencontainers.image.base.digest"] == IMAGE_BASE.digest


def test_identity_has_neither_reasons_nor_urls_nor_file_names() -> None:
    made = compile_it()
    changed = dataclasses.replace(
        made, layers=tuple(dataclasses.replace(layer, reason="because") for layer in made.layers), remotes=()
    )
    assert changed.id == made.id
    renamed = dataclasses.replace(LOCK, wheels=tuple(dataclasses.replace(w, filename="x.whl") for w in LOCK.wheels))
    assert compile_it(lock=renamed).id == made.id


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1},
        {"compression": "zstd"},
        {"code": [dataclasses.replace(CODE, mode=0o755)]},
        {"code": [dataclasses.replace(CODE, sha256="9" * 64)]},
        {"runtime": [dataclasses.replace(SDK, path="cog/other.py")]},
        {"schema": None},
        {"version": "0.1.1"},
        {"config": dataclasses.replace(CONFIG, environment=(("A", "1"), ("B", "3")))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_identity_has_everything_else(change: dict[str, object]) -> None:
    assert compile_it(**change).id != compile_it().id  # type: ignore[arg-type]


def test_layer_key_changes_with_codec_and_compression() -> None:
    layer = compile_it().layers[0]
    keys = {
        layer_key(layer, compression=compression, codec=codec)
        for compression in ("gzip", "zstd", "plain")
        for codec in (Codec(), Codec(level=9), Codec(version="0.9.1"))
    }
    assert len(keys) == 9


def test_config_label_in_upstreams_order() -> None:
    label = config_label(dataclasses.replace(CONFIG, gpu=True, image="x", train="train.py:t", concurrency=4))
    assert list(label) == ["build", "image", "predict", "train", "concurrency", "environment"]
    assert label["concurrency"] == {"max": 4}


def test_schema_keeps_its_order() -> None:
    assert dump_schema({"z": "é", "a": []}) == '{"z":"é","a":[]}'


def commands_of(plan: Plan) -> list[RunLayer]:
    return [layer for layer in plan.layers if isinstance(layer, RunLayer)]


def with_commands(**changes: object) -> Config:
    given = Command(command="make", mounts=(Mount(type="secret", id="t", target="/run/secrets/t"),))
    return dataclasses.replace(CONFIG, commands=(given, Command(command="true")), pre_install=("late",), **changes)  # type: ignore[arg-type]


def test_commands_run_after_the_packages_and_before_the_weights() -> None:
    plan = compile_it(with_commands(), network="none")
    assert [type(layer).__name__ for layer in plan.layers] == [
        *("DebianLayer", "WheelsLayer", "WheelsLayer", *["BytecodeLayer"] * 2, "RuntimeLayer", *["BytecodeLayer"] * 2),
        *("RunLayer", "RunLayer", "RunLayer", "FilesLayer", "FilesLayer"),
    ]
    first, second, third = commands_of(plan)
    assert (first.command, second.command, third.command) == ("make", "true", "late")
    assert first.secrets == (SecretMount(id="t", target="/run/secrets/t"),)
    assert (second.secrets, second.network, title(second)) == ((), "none", "RUN true")
    env = dict(first.env)
    assert env["PATH"].startswith("/opt/venv/bin:/run/cogsmith/bin:/usr/local/sbin:")
    assert (env["SOURCE_DATE_EPOCH"], env["HOME"], env["A"]) == ("1735689600", "/root", "1")
    assert not [name for name in env if name.startswith("COG_")]
    given = commands_of(compile_it(with_commands(environment=(("COG_LOG_LEVEL", "x"),))))
    assert dict(given[0].env)["COG_LOG_LEVEL"] == "x"
    assert not commands_of(compile_it())


def test_the_key_of_a_command_holds_all_that_is_below_it() -> None:
    def keys(config: Config, **given: object) -> list[str]:
        plan = compile_it(config, **given)
        return [layer_key(layer, compression="gzip", codec=Codec()) for layer in commands_of(plan)]

    before = keys(with_commands())
    assert len(before[0]) == 64
    assert len(commands_of(compile_it(with_commands()))[0].below) == 8
    assert keys(with_commands()) == before
    assert keys(with_commands(), code=[], large=[], schema=None) == before  # what is above does not count
    assert keys(with_commands(train="run.py:train")) == before
    for changed in (
        keys(with_commands(environment=(("A", "2"),))),
        keys(with_commands(), epoch=5),
        keys(with_commands(), network="none"),
        keys(with_commands(), lock=dataclasses.replace(LOCK, wheels=(LARGE,))),
        keys(with_commands(), lock=dataclasses.replace(LOCK, base=IMAGE_BASE)),
        keys(with_commands(), runtime=[]),
    ):
        assert not set(changed) & set(before)
    other = dataclasses.replace(with_commands(), commands=(*with_commands().commands[:1], Command(command="false")))
    assert [key in before for key in keys(other)] == [True, False, False]
    # However the layers below are compressed: they hold the same.
    plain = compile_it(with_commands(), compression="plain")
    assert [layer.below for layer in commands_of(plain)] == [
        layer.below for layer in commands_of(compile_it(with_commands()))
    ]


def test_too_many_commands() -> None:
    config = dataclasses.replace(CONFIG, commands=tuple(Command(command=f"true {i}") for i in range(MAX_LAYERS)))
    with pytest.raises(ConfigError, match="the image would have 108 layers"):
        compile_it(config)
