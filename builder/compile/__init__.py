"""(Config, Lock, Source) → Plan: which layers an image has, in which order, and why.

A pure function: reads no file, no clock, no environment.  Imports `config`, `lock`, `plan` and `errors` only.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from builder.bytecode import base_bytecode, bytecode_of, compilers_of, has_code
from builder.compile.image import SOURCE_ROOT, VENV, config_label, dump_schema, image_config
from builder.config import Config
from builder.errors import ConfigError
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import (
    CODECS,
    DEFAULT_EPOCH,
    BaseLayer,
    Compiler,
    Compression,
    DebianLayer,
    Entry,
    FilesLayer,
    Generated,
    ImageConfig,
    Interpreter,
    InterpreterLayer,
    Layer,
    Locked,
    Network,
    PackagesLayer,
    Plan,
    Remote,
    RunLayer,
    RuntimeLayer,
    SecretMount,
    Wheel,
    WheelsLayer,
    chain_link,
)

__all__ = [
    "BUILD_ROOT",
    "COMMAND_BIN",
    "LARGE_WHEEL",
    "MAX_LAYERS",
    "RUNTIME_ROOT",
    "SCHEMA_PATH",
    "SOURCE_ROOT",
    "VENV",
    "base_plan",
    "build_environment",
    "compile_plan",
    "config_label",
    "dump_schema",
]

RUNTIME_ROOT = "/opt/cogsmith"
BUILD_ROOT = "/opt/build"
"""Where a package that has no wheel finds its build requirements, while it is built; in no image."""
SCHEMA_PATH = ".cog/openapi_schema.json"
COMMAND_BIN = "/run/cogsmith/bin"
"""Where commands find a `pip` that installs into the virtual environment; in no image."""

LARGE_WHEEL = 10 * 1024 * 1024
"""A wheel file of at least so many bytes is a layer of its own.  A constant of the format, never a property of one
image: two unrelated models that use the same torch share its blob."""

MAX_LAYERS = 100
"""At most so many layers of ours on any base (runtimes stop at about 127); the shared layer takes the rest."""


def compile_plan(
    config: Config,
    *,
    lock: Lock,
    code: Sequence[Entry],
    large: Sequence[Entry],
    runtime: Sequence[Entry],
    schema: Mapping[str, Any] | None,
    version: str,
    epoch: int = DEFAULT_EPOCH,
    compression: Compression = "gzip",
    network: Network = "host",
    bytecode: bool = True,
) -> Plan:
    """The plan of a project.

    `code` and `large` are the project's files (the latter become layers of their own), `runtime` the files of the
    SDK and the server, `schema` the model's OpenAPI document, `version` this release's, for the labels, `network` what
    commands see of it.  With `bytecode` there are layers of it, if the lock knows what compiles it.
    Raises `ConfigError` if the image would have more layers than a container runtime can mount.
    """
    layers: list[Layer] = list(_base_layers(lock, epoch=epoch))
    if lock.system_packages:
        layers.append(_packages_layer(config, lock=lock, below=layers, epoch=epoch))
    layers += _interpreter_layers(lock, epoch=epoch)
    compilers = compilers_of(lock) if bytecode else ()
    if len(large) > MAX_LAYERS // 2:
        raise ConfigError(
            f"the project has {len(large)} large files, each a layer of its own; at most {MAX_LAYERS // 2} fit",
            hint="pack them into archives, or exclude those that the model does not need in `.dockerignore`",
        )
    room = MAX_LAYERS - len(large) - 4  # the base, the shared wheels, the runtime, the code
    room -= (lock.python is not None) + bool(lock.system_packages) + len(config.commands) + len(config.pre_install)
    room -= 3 if compilers else 0  # of the standard library, the shared wheels, the runtime
    if room < 0:
        raise ConfigError(
            f"the image would have {MAX_LAYERS - room} layers; at most {MAX_LAYERS} can be mounted",
            hint="join commands of `build.run` with `&&`, or pack large files into archives",
        )
    layers += _wheel_layers(lock, epoch=epoch, room=room, compilers=compilers)
    layers.append(_runtime_layer(lock, runtime=runtime, epoch=epoch))
    if compilers:
        layers += base_bytecode(layers, lock=lock, compilers=compilers)
    image = image_config(config, lock=lock, schema=schema, version=version)
    _add_commands(
        layers, config=config, env=_command_env(config, image=image, epoch=epoch), epoch=epoch, network=network
    )
    layers += [
        FilesLayer(role="weights", root=SOURCE_ROOT, entries=(entry,), epoch=epoch, reason=f"large file `{entry.path}`")
        for entry in large
    ]
    generated: tuple[Generated, ...] = ()
    if schema is not None:
        generated = (Generated(path=SCHEMA_PATH, text=dump_schema(schema)),)
    layers.append(
        FilesLayer(
            role="code",
            root=SOURCE_ROOT,
            entries=tuple(code),
            generated=generated,
            epoch=epoch,
            reason="the project's files and its schema; last, because they change most",
        )
    )
    return Plan(
        platform=lock.platform,
        epoch=epoch,
        compression=compression,
        codec=CODECS[compression],
        layers=tuple(layers),
        config=image,
        remotes=lock.remotes,
        locked=tuple(
            Locked(key=key, digest=packed.digest, diff_id=packed.diff_id, size=packed.size)
            for key, packed in lock.layers
        ),
    )


def _base_layers(lock: Lock, *, epoch: int) -> Sequence[Layer]:
    match lock.base:
        case DebianBase() as base:
            why = f"Debian {base.suite} with Python {lock.interpreter.version}, {len(base.debs)} packages"
            if base.executed:
                why += f"; configured by dpkg in a sandbox: {base.reason}"
            return [
                DebianLayer(
                    suite=base.suite,
                    architecture=base.architecture,
                    debs=base.debs,
                    epoch=epoch,
                    executed=base.executed,
                    reason=why,
                )
            ]
        case ImageBase() as base:
            return [
                BaseLayer(
                    digest=layer.digest,
                    diff_id=layer.diff_id,
                    size=layer.size,
                    media_type=layer.media_type,
                    reason=f"base image `{base.reference}`",
                )
                for layer in base.layers
            ]


def _packages_layer(config: Config, *, lock: Lock, below: Sequence[Layer], epoch: int) -> PackagesLayer:
    requested = tuple(sorted(config.system_packages))
    return PackagesLayer(
        requested=requested,
        debs=tuple(sorted(lock.system_packages, key=lambda deb: (deb.package, deb.architecture))),
        below=tuple(chain_link(layer) for layer in below),
        epoch=epoch,
        reason=f"`build.system_packages`: {len(requested)} asked for, {len(lock.system_packages)} with what they need",
    )


def _interpreter_layers(lock: Lock, *, epoch: int) -> Sequence[Layer]:
    if lock.python is None:
        return []
    return [
        InterpreterLayer(
            root=posixpath.dirname(posixpath.dirname(lock.interpreter.path)),
            version=lock.interpreter.version,
            filename=lock.python.filename,
            size=lock.python.size,
            sha256=lock.python.sha256,
            epoch=epoch,
            reason=f"Python {lock.interpreter.version}, which the base does not have",
        )
    ]


def _wheel_layers(lock: Lock, *, epoch: int, room: int, compilers: tuple[Compiler, ...]) -> list[Layer]:
    large = []
    for wheel in sorted(lock.wheels, key=lambda wheel: (-wheel.size, wheel.name)):
        room -= 2 if compilers and has_code(wheel) else 1
        if wheel.size < LARGE_WHEEL or room < 0:
            break
        large.append(wheel)
    large.sort(key=lambda wheel: wheel.name)
    small = sorted((w for w in lock.wheels if w not in large), key=lambda wheel: wheel.name)

    def layer(wheels: Sequence[Wheel], reason: str) -> WheelsLayer:
        return WheelsLayer(prefix=VENV, python=lock.interpreter.minor, wheels=tuple(wheels), epoch=epoch, reason=reason)

    alone = [
        layer([w], f"{w.name} {w.version}: large, so a layer that other images share{_built([w], lock=lock)}")
        for w in large
    ]
    layers: list[Layer] = [*alone]
    if small:
        layers.append(layer(small, f"the other Python packages ({len(small)}){_built(small, lock=lock)}"))
    if compilers:
        layers += [
            bytecode_of(
                of, lock=lock, compilers=compilers, reason=f"of {of.wheels[0].name}: its first import is quicker"
            )
            for of in alone
            if has_code(of.wheels[0])
        ]
        rest = [*(wheel for wheel in large if not has_code(wheel)), *small]
        if rest:
            why = f"of the other Python packages ({len(rest)}): their first import is quicker"
            layers.append(bytecode_of(layer(rest, ""), lock=lock, compilers=compilers, reason=why))
    return layers


def _built(wheels: Sequence[Wheel], *, lock: Lock) -> str:
    """Which of these were built from source, in a few words."""
    built = {item.sha256: item for item in lock.built}
    names = [wheel.name for wheel in wheels if wheel.sha256 in built]
    moving = [wheel.name for wheel in wheels if wheel.sha256 in built and not built[wheel.sha256].same]
    text = f"; built from source: {', '.join(names)}" if names else ""
    return text + (f" (each build of {', '.join(moving)} gives another wheel)" if moving else "")


def _runtime_layer(lock: Lock, *, runtime: Sequence[Entry], epoch: int) -> RuntimeLayer:
    return RuntimeLayer(
        root=RUNTIME_ROOT,
        venv=VENV,
        interpreter=lock.interpreter,
        version=lock.runtime_version,
        files=tuple(runtime),
        generated=(),
        wheels=lock.runtime_wheels,
        epoch=epoch,
        reason="the `cog` SDK and the prediction server, apart from the model's packages",
    )


def _add_commands(
    layers: list[Layer], *, config: Config, env: tuple[tuple[str, str], ...], epoch: int, network: Network
) -> None:
    """`build.run`, then `build.pre_install`, which Cog runs at the same late place."""
    commands = [
        (item.command, tuple(SecretMount(id=m.id, target=m.target) for m in item.mounts)) for item in config.commands
    ]
    for command, secrets in [*commands, *((command, ()) for command in config.pre_install)]:
        layers.append(
            RunLayer(
                command=command,
                secrets=secrets,
                network=network,
                env=env,
                below=tuple(chain_link(layer) for layer in layers),
                epoch=epoch,
                reason="a command of `cog.yaml`: executed again when it or anything below changes",
            )
        )


def _command_env(config: Config, *, image: ImageConfig, epoch: int) -> tuple[tuple[str, str], ...]:
    """The image's environment, but for what only the server reads: no command need run again because of that."""
    given = {name for name, _ in config.environment}
    kept = {name: value for name, value in image.env if name in given or not name.startswith("COG_")}
    env = {"HOME": "/root", **kept, "SOURCE_DATE_EPOCH": str(epoch), "COGSMITH_CHECK_BYTECODE": "1"}
    folders = env["PATH"].split(":")
    place = folders.index(f"{VENV}/bin") + 1 if f"{VENV}/bin" in folders else len(folders)
    env["PATH"] = ":".join([*folders[:place], COMMAND_BIN, *folders[place:]])
    return tuple(env.items())


def base_plan(base: DebianBase | ImageBase, *, platform: str, remotes: Sequence[Remote], epoch: int) -> Plan:
    """The plan of a base alone, for its own programs to be asked before there is a lock."""
    nothing = Interpreter(path="", version="")
    lock = Lock(
        config_hash="",
        platform=platform,
        interpreter=nothing,
        base=base,
        wheels=(),
        runtime_version="",
        runtime_wheels=(),
    )
    image = ImageConfig(env=(), entrypoint=(), cmd=(), working_dir="/", exposed_ports=(), labels=())
    layers = tuple(_base_layers(lock, epoch=epoch))
    return Plan(platform=platform, epoch=epoch, layers=layers, config=image, remotes=tuple(remotes))


def build_environment(
    config: Config, *, lock: Lock, requires: Sequence[Wheel], remotes: Sequence[Remote], epoch: int
) -> Plan:
    """The plan of what a package without a wheel is built in: the image's own base, system packages and Python.

    `lock` has these, and nothing else yet; the build requirements `requires` lie in `BUILD_ROOT`.
    """
    plan = base_plan(lock.base, platform=lock.platform, remotes=remotes, epoch=epoch)
    layers: list[Layer] = list(plan.layers)
    if lock.system_packages:
        layers.append(_packages_layer(config, lock=lock, below=layers, epoch=epoch))
    layers += _interpreter_layers(lock, epoch=epoch)
    if requires:
        wheels = tuple(sorted(requires, key=lambda wheel: wheel.name))
        layers.append(WheelsLayer(prefix=BUILD_ROOT, python=lock.interpreter.minor, wheels=wheels, epoch=epoch))
    return dataclasses.replace(plan, layers=tuple(layers))
