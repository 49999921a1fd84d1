"""What the commands that speak with registries share: access, limits from the environment, the model's reference."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from typing import TYPE_CHECKING

from builder.cli.settings import Settings
from builder.config import Config
from builder.errors import ConfigError
from builder.frozen import frozen
from builder.reference import Reference, parse

if TYPE_CHECKING:
    from builder.registry.client import Access
    from builder.registry.push import Manner

RESERVED = "cog-"
NO_TARGET = (
    "To push images, you must either set the 'image' option in cog.yaml or pass an image name as an argument. "
    "For example, 'cogsmith push registry.example.com/your-username/model-name'"
)


def access(settings: Settings) -> Access:
    """How registries are reached from here."""
    from builder.registry.client import Access

    return Access(env=settings.env)


def manner(settings: Settings) -> Manner:
    """How to push: `COG_PUSH_CONCURRENCY`, `COG_PUSH_DEFAULT_CHUNK_SIZE`, `COG_PUSH_MULTIPART_THRESHOLD` (bytes)."""
    from builder.registry.push import PARALLEL, Manner
    from builder.registry.upload import Limits

    usual = Limits()
    return Manner(
        parallel=_number(settings, "COG_PUSH_CONCURRENCY", default=PARALLEL),
        limits=Limits(
            chunk=_number(settings, "COG_PUSH_DEFAULT_CHUNK_SIZE", default=usual.chunk),
            threshold=_number(settings, "COG_PUSH_MULTIPART_THRESHOLD", default=usual.threshold),
        ),
    )


def _number(settings: Settings, name: str, *, default: int) -> int:
    text = settings.env.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ConfigError(f"{name} is `{text}`", hint=f"give a whole number above 0, or unset it (default: {default})")
    return int(text)


@frozen
class Target:
    """Where a push goes; `bundle`: an index under the tag, the image beside it, as `model` in cog.yaml asks for."""

    reference: Reference
    bundle: bool = False


def push_target(config: Config, *, given: str | None, settings: Settings, now: dt.datetime) -> Target:
    """Where `cogsmith push` goes: the model's reference, else the argument, else `image` of the configuration."""
    model = model_reference(config, settings=settings, now=now)
    if model is not None:
        if given is not None:
            raise ConfigError(
                "positional image argument not supported with 'model' config",
                hint="COG_MODEL names another model for one push, COG_MODEL_TAG another tag",
            )
        return Target(reference=model, bundle=True)
    text = given or config.image
    if not text:
        raise ConfigError(NO_TARGET, hint="cogsmith push registry.example.com/your-username/model-name")
    return Target(reference=target_of(text))


def target_of(text: str) -> Reference:
    """A reference to push to; a digest is no such thing, for it follows from what is pushed."""
    reference = parse(text)
    if reference.digest:
        raise ConfigError(
            f"`{text}` cannot be pushed to: a digest follows from what an image holds",
            hint=f"push to `{reference.tagged}`; the digest is printed",
        )
    return reference


def model_reference(config: Config, *, settings: Settings, now: dt.datetime) -> Reference | None:
    """The model's repository and tag: `COG_MODEL`, or `model` with parts from `COG_MODEL_REGISTRY` and `_REPO`.

    The tag is that of `COG_MODEL`, or `COG_MODEL_TAG`.  Without one it is the time in UTC, as with Cog; tags that begin
    with `cog-` are Cog's own.
    """
    env = settings.env
    whole = env.get("COG_MODEL")
    if whole:
        reference = target_of(whole)
        if not reference.tag:
            reference = target_of(str(dataclasses.replace(reference, tag=env.get("COG_MODEL_TAG", ""))))
    else:
        base = parse(config.model) if config.model else None
        registry, repository = env.get("COG_MODEL_REGISTRY"), env.get("COG_MODEL_REPO")
        if base is None and not repository:
            return None
        if repository and ("@" in repository or ":" in repository or parse(repository).registry):
            raise ConfigError(
                f"COG_MODEL_REPO is `{repository}`", hint="give the repository alone: no registry, no tag, no digest"
            )
        reference = Reference(
            registry=registry or (base.registry if base else "") or settings.registry,
            repository=repository or (base.repository if base else ""),
            tag=env.get("COG_MODEL_TAG", ""),
        )
        reference = target_of(str(reference))
    if reference.tag.startswith(RESERVED):
        raise ConfigError(
            f"the tag `{reference.tag}` begins with `{RESERVED}`, which is reserved for tags made here",
            hint="choose another tag",
        )
    return dataclasses.replace(reference, tag=reference.tag or now.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ"))


def home_of_model(reference: Reference, *, settings: Settings) -> str | None:
    """The page of a model of Replicate's registry; none for those of others."""
    if reference.registry != settings.registry or reference.registry != "r8.im":
        return None
    return f"https://replicate.com/{reference.repository}"


def is_replicate(reference: Reference, *, settings: Settings) -> bool:
    """Whether the reference is one of the registry that `cogsmith login` logs in to by default."""
    return reference.registry == settings.registry


def on_terminal(stream: int) -> bool:
    """Whether a descriptor is a terminal."""
    return os.isatty(stream)
