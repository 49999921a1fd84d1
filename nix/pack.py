"""Run in the Nix sandbox: the layer that `spec` describes, by Cogsmith's packer, to `$out`."""

import json
import os
import sys
from pathlib import Path

THREADS = 4
COMMAND = """the layer `{title}` comes from a command, which Nix does not run
hint: `cogsmith build --backend embedded` makes it; `--backend nix` then finds it in the local store"""
KNOWN = "hint: `cogsmith build --backend embedded` makes it; Nix makes only layers whose digest is known from that"
CODEC = """the layer `{title}` is compressed, and there is no codec
hint: pass `codec`: `cogsmith emit nix` writes one, or take the layer from a binary cache by its digest"""


def main() -> None:
    """Read `$specPath`, write `$out`: the blob itself where its digest is locked, else a folder with what it became."""
    env = dict(os.environ)
    spec = json.loads(Path(env["specPath"]).read_bytes())
    layer, compression = spec["layer"], spec["compression"]
    sys.path.insert(0, spec["source"])
    if spec["codec"]:
        sys.path.append(spec["codec"])

    from builder.codec import codec_for
    from builder.errors import CogsmithError
    from builder.layers.pack import pack
    from builder.plan import Codec

    # System packages over a Debian base can be unpacked and configured without running anything, where the digest that
    # they came out as when they were installed says whether that is the same.
    modelled = layer["kind"] == "packages" and spec["flat"] and "base" in layer
    if layer["kind"] == "run" or layer.get("executed") or (layer["kind"] == "packages" and not modelled):
        fail(COMMAND.format(title=spec["title"]))
    # With gzip, wheels and files keep the streams that they have.
    if not spec["codec"] and (compression == "zstd" or layer["kind"] not in ("files", "runtime", "wheels")):
        fail(CODEC.format(title=spec["title"]))
    inputs = {sha256: Path(path) for sha256, path in spec["inputs"].items()}
    for entry in spec["tree"]["entries"] if spec["tree"] else ():
        inputs[entry["sha256"]] = Path(spec["tree"]["folder"], entry["path"])
    out = Path(env["out"])
    if not spec["flat"]:
        out.mkdir()
    try:
        with (out if spec["flat"] else out / "layer").open("wb") as blob:
            packed = pack(
                layer,
                inputs=inputs,
                out=blob,
                codec=codec_for(Codec(**spec["codecOfPlan"]), compression if spec["codec"] else "plain"),
                compression=compression,
                threads=min(THREADS, len(os.sched_getaffinity(0))),
                **compiling(layer, spec["compiler"], inputs),
            )
    except CogsmithError as problem:
        fail(f"`{spec['title']}`: {problem}\n{KNOWN}" if modelled else str(problem))
    if not spec["flat"]:
        about = {"digest": packed.digest, "diff_id": packed.diff_id, "size": packed.size}
        (out / "packed.json").write_text(json.dumps(about, sort_keys=True))


def compiling(layer, compiler, inputs):
    """For bytecode, the argument of the packer that runs the interpreter which the plan names."""
    if layer["kind"] != "bytecode":
        return {}
    if compiler is None:
        fail("the lock names no interpreter for this machine that compiles bytecode\nhint: run `cogsmith lock` here")

    import subprocess
    import tempfile

    from builder.layers.pythons import unpack_interpreter

    target = Path(tempfile.mkdtemp())
    program = unpack_interpreter(compiler, version=layer["version"], inputs=inputs, target=target)
    argv = list(program.argv)
    if compiler["archive"] is not None:  # started by the loader of the machine, and here is none but our own
        argv = [*loader(f"{target}/lib"), *argv]

    def compile_with(requests, answers):
        done = subprocess.run(
            argv, stdin=requests, stdout=answers, stderr=subprocess.PIPE, env=program.env, check=False
        )
        if done.returncode:
            fail(f"could not compile bytecode with Python {layer['version']}\n{done.stderr.decode(errors='replace')}")

    return {"compile_with": compile_with}


def loader(*folders):
    """How a program is started by the loader and the libraries that run this one."""
    mapped = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line]
    own = next(path for path in mapped if Path(path).name.startswith("ld-linux"))
    libraries = next(path for path in mapped if Path(path).name.startswith("libc.so"))
    return [own, "--library-path", ":".join([str(Path(libraries).parent), *folders])]


def fail(text):
    """End; the lines are those that `cogsmith` looks for in what Nix prints."""
    lines = "\n".join(f"cogsmith: {line}" for line in text.splitlines())
    sys.stderr.write(f"{lines}\n")
    sys.stderr.flush()
    os._exit(1)  # also from a thread


main()
