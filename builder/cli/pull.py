"""`pull`: an image of a registry into the store; and the same for the commands that run one."""

from __future__ import annotations

import dataclasses

import click

from builder.cli import remote
from builder.cli.console import Console, say
from builder.cli.group import Command
from builder.cli.settings import Settings, read
from builder.reference import Reference, parse
from builder.report import Report
from builder.store import Store, StoredImage


@click.command(cls=Command, epilog="Example: cogsmith pull r8.im/your-username/your-model@sha256:...")
@click.argument("reference")
@click.option(
    "--platform", metavar="OS/ARCH", help="The image of an index for this platform (default: this machine's)."
)
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
def pull(*, reference: str, platform: str | None, quiet: bool) -> None:
    """Bring the image REFERENCE, with all its layers, and print its digest.

    Every byte is compared with the digests that the manifest names; what was cut off goes on where it was.
    """
    settings = read()
    console = Console(quiet=quiet)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        wanted = platform or settings.host_platform
        image = pull_image(reference, settings=settings, store=store, console=console, platform=wanted, layers=True)
    console.close()
    console.note(f"Pulled {image.name}")
    say(image.digest)


def pull_image(
    reference: str, *, settings: Settings, store: Store, console: Report, platform: str, layers: bool = False
) -> StoredImage:
    """The image of a registry, named in the store as there.

    Without `layers`, only its documents come: what runs it asks for the layers (`builder.cli.base.base_layers`).
    Call it inside `store.using()`.  `RegistryError` if it cannot be had.
    """
    from builder.registry.pull import pull_documents, pull_layers

    wanted = parse(reference)
    access = remote.access(settings)
    console.note(f"Pulling {wanted}")
    pulled = pull_documents(wanted, platform=platform, store=store, access=access, report=console)
    if layers:
        pull_layers(wanted, layers=pulled.layers, store=store, access=access, report=console)
    name = name_of(wanted)
    store.set_image(name, pulled.descriptor)
    image = store.image(name)
    assert image is not None
    return image


def name_of(reference: Reference) -> str:
    """The name of a pulled image: its tag's, or one made of the digest where there is no tag."""
    if reference.digest and not reference.tag:
        return dataclasses.replace(reference, tag=f"sha256-{reference.digest[7:19]}", digest="").tagged
    return reference.tagged
