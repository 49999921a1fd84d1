"""`list` and `show`: what a registry holds, from manifests and labels alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from builder.cli import remote
from builder.cli.console import Console, say, size, table
from builder.cli.group import Command
from builder.cli.settings import read
from builder.errors import RegistryError
from builder.reference import parse

if TYPE_CHECKING:
    from builder.registry.browse import Remote

LIMIT = 100
"""Tags that `list` looks at, unless told otherwise: some registries count each as a pull."""
BASE_NAME = "org.opencontainers.image.base.name"
LONG = ("run.cog.openapi_schema", "run.cog.config", "run.cog.pip_freeze", "org.cogmodel.openapi_schema")
"""Labels that hold documents: shown in parts, or with `--json`."""


@click.command("list", cls=Command, epilog="Example: cogsmith list r8.im/your-username/your-model")
@click.argument("repository")
@click.option("--platform", metavar="OS/ARCH", default="linux/amd64", help="Which image of an index to look at.")
@click.option(
    "-n",
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    default=LIMIT,
    show_default=True,
    help="Look at the last N tags, as one counts; 0: at all.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print all tags alone, and look at none of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, repository: str, platform: str, limit: int, quiet: bool, as_json: bool) -> None:
    """List the tags of REPOSITORY: digest, size, Cog's version, when it was made.

    Of each, the manifest and the configuration are read, which some registries count as pulls.
    """
    from builder.registry.browse import look_at_all, tags

    reference = parse(repository)
    access = remote.access(read())
    names = [reference.tag] if reference.tag else tags(reference, access=access)
    if quiet:
        for line in [json.dumps([{"tag": name} for name in names], indent=2)] if as_json else names:
            say(line)
        return
    console = Console()
    left, names = (names[:-limit], names[-limit:]) if limit else ([], names)
    found = look_at_all(
        reference,
        names,
        platform=platform,
        access=access,
        advance=lambda done: console.block([f"looked at {done} of {len(names)} tags"]),
    )
    console.block([])
    if left:
        console.note(f"{len(left)} tags more: `--limit 0` looks at all of them, `--quiet` names them")
    if as_json:
        say(json.dumps([_row(name, one) for name, one in found.items()], indent=2))
        return
    rows = [("TAG", "DIGEST", "SIZE", "COG", "CREATED")]
    for name, one in found.items():
        if isinstance(one, RegistryError):
            rows.append((name, "", "", "", f"({one.brief})"))
        else:
            created = str(one.config.get("created") or "")[:19]
            rows.append((name, one.digest[7:19], size(one.size), one.labels.get("run.cog.version", ""), created))
    say(table(rows, right=frozenset({2})))


def _row(name: str, one: Remote | RegistryError) -> dict[str, Any]:
    if isinstance(one, RegistryError):
        return {"tag": name, "error": one.brief}
    return {
        "tag": name,
        "digest": one.digest,
        "size": one.size,
        "cog_version": one.labels.get("run.cog.version"),
        "created": one.config.get("created"),
        "platforms": list(one.platforms) or [_platform(one)],
    }


@click.command(cls=Command, epilog="Example: cogsmith show r8.im/your-username/your-model@sha256:...")
@click.argument("reference")
@click.option("--platform", metavar="OS/ARCH", default="linux/amd64", help="Which image of an index to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole labels.")
def show(*, reference: str, platform: str, as_json: bool) -> None:
    """Show inputs, outputs, Python, CUDA, packages, layers and labels of REFERENCE; no layer is downloaded."""
    from builder.registry.browse import look

    found = look(parse(reference), platform=platform, access=remote.access(read()))
    facts = _facts(found)
    if as_json:
        say(json.dumps(facts, indent=2))
        return
    say(f"{found.reference}\n  digest    {found.digest}")
    for name in ("platforms", "size", "cog_version", "python", "cuda", "created", "base"):
        value = facts[name]
        if value:
            text = size(value) if name == "size" else ", ".join(value) if isinstance(value, list) else value
            say(f"  {name.replace('_version', ''):9} {text}")
    if facts["inputs"]:
        rows = [("INPUT", "TYPE", "DEFAULT", "DESCRIPTION")]
        rows += [(one["name"], one["type"], one["default"], one["description"]) for one in facts["inputs"]]
        say("\n" + table(rows))
    if facts["output"]:
        say(f"\noutput: {facts['output']}")
    if facts["packages"]:
        say("\npackages: " + ", ".join(facts["packages"]))
    rows2 = [("LAYER", "SIZE", "HOLDS")]
    rows2 += [(one["digest"][7:19], size(one["size"]), one["holds"]) for one in facts["layers"]]
    say("\n" + table(rows2, right=frozenset({1})))
    short = {name: value for name, value in found.labels.items() if name not in LONG}
    if short:
        say("\nlabels:\n" + "\n".join(f"  {name}={value}" for name, value in sorted(short.items())))


def _platform(one: Remote) -> str:
    return f"{one.config.get('os', '')}/{one.config.get('architecture', '')}"


def _facts(one: Remote) -> dict[str, Any]:
    labels = one.labels
    config = _document(labels, "config")
    schema = _document(labels, "openapi_schema")
    env = dict(str(line).partition("=")[::2] for line in (one.config.get("config") or {}).get("Env") or ())
    build = config.get("build") or {}
    packages = [line for line in labels.get("run.cog.pip_freeze", "").splitlines() if line]
    history = [h for h in one.config.get("history") or () if not h.get("empty_layer")]
    titles = [str(entry.get("created_by", ""))[:100] for entry in history]
    layers = one.manifest["layers"]
    titles += [""] * (len(layers) - len(titles))
    return {
        "name": str(one.reference),
        "digest": one.digest,
        "image_digest": one.image.digest,
        "platforms": list(one.platforms) or [_platform(one)],
        "size": one.size,
        "created": one.config.get("created"),
        "cog_version": labels.get("run.cog.version") or labels.get("org.cogmodel.cog_version"),
        "python": build.get("python_version") or env.get("PYTHON_VERSION"),
        "cuda": build.get("cuda") or env.get("CUDA_VERSION") or _cuda_of(packages),
        "base": (one.manifest.get("annotations") or {}).get(BASE_NAME) or labels.get("run.cog.cog-base-image-name"),
        "inputs": _inputs(schema),
        "output": _output(schema),
        "packages": packages,
        "layers": [
            {"digest": layer["digest"], "size": layer["size"], "media_type": layer.get("mediaType"), "holds": title}
            for layer, title in zip(layers, titles, strict=False)
        ],
        "labels": labels,
    }


def _document(labels: dict[str, str], name: str) -> dict[str, Any]:
    """A label that holds JSON, also under its oldest name; empty if there is none that can be read."""
    try:
        found = json.loads(labels.get(f"run.cog.{name}") or labels.get(f"org.cogmodel.{name}") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _cuda_of(packages: list[str]) -> str | None:
    """The CUDA that the packages bring."""
    for line in packages:
        name, _, version = line.partition("==")
        if name.startswith(("nvidia-cuda-runtime", "cuda-toolkit")):
            return ".".join(version.split(".")[:2])
    return None


def _schemas(schema: dict[str, Any]) -> dict[str, Any]:
    return dict((schema.get("components") or {}).get("schemas") or {})


def _inputs(schema: dict[str, Any]) -> list[dict[str, str]]:
    named = _schemas(schema)
    whole = named.get("Input") or {}
    properties = whole.get("properties") or {}
    required = set(whole.get("required") or ())
    ordered = sorted(properties.items(), key=lambda item: item[1].get("x-order", 0))
    return [
        {
            "name": name,
            "type": _type(one, named=named),
            "default": json.dumps(one["default"]) if "default" in one else "(required)" if name in required else "",
            "description": " ".join(str(one.get("description", "")).split()),
        }
        for name, one in ordered
    ]


def _output(schema: dict[str, Any]) -> str:
    named = _schemas(schema)
    return _type(named["Output"], named=named) if "Output" in named else ""


def _type(one: dict[str, Any], *, named: dict[str, Any]) -> str:
    for part in (one, *(one.get("allOf") or one.get("anyOf") or ())):
        reference = str(part.get("$ref", "")).rpartition("/")[2]
        if reference in named:
            return _type(named[reference], named=named)
    if "enum" in one:
        return " | ".join(json.dumps(choice) for choice in one["enum"])
    if one.get("type") == "array":
        return f"list of {_type(one.get('items') or {}, named=named) or 'anything'}"
    if one.get("format") == "uri":
        return "file"
    return str(one.get("type", "anything"))
