"""`--secret id=...,src=...`: values that commands of `build.run` may read, and that no layer and no key ever holds.

Written as for `docker build --secret`: comma-separated `key=value` fields, quoted as in CSV where one holds a comma.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from builder.errors import ConfigError
from builder.frozen import frozen

HINT = "as in `--secret id=token,src=token.txt` or `--secret id=token,env=TOKEN`"


@frozen
class Secret:
    """Where a secret is: in the file `path` (absolute), or else in the variable `variable`."""

    id: str
    path: Path | None = None
    variable: str = ""


def parse(text: str, *, folder: Path) -> Secret:
    """One `--secret`; files are relative to `folder`, the project's.  `ConfigError` in the words of `docker build`."""
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as problem:
        raise ConfigError(f"`--secret {text}` cannot be read: {problem}", hint=HINT) from problem
    fields = rows[0] if len(rows) == 1 else []
    values: dict[str, str] = {}
    for field in fields or [""]:
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ConfigError(f'invalid field "{field}" must be a key=value pair', hint=HINT)
        if key not in ("type", "id", "src", "source", "env"):
            raise ConfigError(f"unexpected key '{key}' in '{field}'", hint=HINT)
        values["src" if key == "source" else key] = value
    kind = values.get("type", "env" if "env" in values and "src" not in values else "file")
    if kind not in ("file", "env"):
        raise ConfigError(f'unsupported secret type "{kind}"', hint="the types are `file` and `env`")
    name = values.get("id", "")
    if not name:
        raise ConfigError(f"`--secret {text}` has no id", hint=HINT)
    if kind == "env":
        # As with docker: `type=env,src=NAME` names a variable too, and without a name it is the id.
        return Secret(id=name, variable=values.get("env") or values.get("src") or name)
    if values.get("src"):
        return Secret(id=name, path=(folder / Path(values["src"]).expanduser()).absolute())
    return Secret(id=name, variable=values.get("env") or name)


def read(secrets: Iterable[Secret], *, env: Mapping[str, str]) -> dict[str, bytes]:
    """Each secret's value by id; `ConfigError` names the one that is not there."""
    values: dict[str, bytes] = {}
    for secret in secrets:
        if secret.path is None:
            if secret.variable not in env:
                raise ConfigError(
                    f"the secret `{secret.id}` is not there: no variable `{secret.variable}`",
                    hint=f"set it, or name a file: `--secret id={secret.id},src=PATH`",
                )
            values[secret.id] = env[secret.variable].encode()
            continue
        try:
            values[secret.id] = secret.path.read_bytes()
        except OSError as problem:
            why = (problem.strerror or str(problem)).lower()
            raise ConfigError(f"could not read the secret `{secret.id}` from `{secret.path}`: {why}") from problem
    return values
