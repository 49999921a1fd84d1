"""The errors a user can see, one small tree.  Imports nothing of ours.

Raise anywhere, print once (in `builder.cli`).  Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations


class CogsmithError(Exception):
    """Something the user can act on.

    `brief` is one sentence without a full stop: what went wrong.  `details` holds the evidence (the failing
    command, the last lines, every problem found).  `hint` says what to do next.
    """

    exit_code = 70
    """Of the program; each class has its own.  1 is for a prediction that failed, as upstream, and 2 is click's."""

    advice: str | None = None
    """The hint of errors that give none of their own."""

    def __init__(self, brief: str, *, details: str | None = None, hint: str | None = None) -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.hint = hint or self.advice

    def __str__(self) -> str:
        parts = [self.brief]
        if self.details:
            parts.append(self.details)
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class ConfigError(CogsmithError):
    """`cog.yaml`, or something it names, is wrong."""

    exit_code = 3
    advice = "correct what is named above, and try again"


class ResolveError(CogsmithError):
    """A package, base image or interpreter that was asked for cannot be had."""

    exit_code = 4


class FetchError(CogsmithError):
    """A file could not be downloaded, or is not the one that was asked for."""

    exit_code = 5


class LayerError(CogsmithError):
    """An input of a layer (wheel, deb, project file) is hostile, damaged or changed meanwhile."""

    exit_code = 6
    advice = "the file is damaged, changed or hostile: get it again, or use another version"


class StoreError(CogsmithError):
    """The local store cannot be read or written, or does not hold what was asked for."""

    exit_code = 7


class SandboxError(CogsmithError):
    """This machine cannot run a container the way that was asked for."""

    exit_code = 8


class BackendError(CogsmithError):
    """A backend lacks something, or failed."""

    exit_code = 9


class RegistryError(CogsmithError):
    """A registry refused, or could not be reached."""

    exit_code = 10

    status: int | None = None
    """The HTTP status of the answer that this is about, if it is about one."""


class LockError(CogsmithError):
    """The lock file is malformed, stale or incomplete."""

    exit_code = 11
    advice = "make the lock again with `cogsmith lock`"


class SchemaError(CogsmithError):
    """The model's source does not say what its inputs and outputs are."""

    exit_code = 12
    advice = "correct the model's source at the place named above"


class InputError(CogsmithError):
    """An input of a prediction is missing, unknown or of the wrong kind."""

    exit_code = 13
    advice = "pass inputs with `-i name=value`, and files with an `@`: `-i image=@cat.jpg`"


class PredictionError(CogsmithError):
    """The model did not start, or its prediction failed."""

    exit_code = 1
