"""Cogsmith: compile a `cog.yaml` project into an OCI image, with no daemon and no root."""

__version__ = "0.1.0"
