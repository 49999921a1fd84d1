"""A wheel built from source, over the image's own layers, in our sandbox without network.  Makes no layer."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import sandbox, sandbox_child
from builder.backends import Execution
from builder.backends.sandboxed import Sandboxed
from builder.backends.steps import Given, Step
from builder.errors import BackendError
from builder.oci import PackedLayer
from builder.plan import Interpreter, Plan
from builder.report import Report
from builder.store import Store

FOLDER = "/run/cogsmith/build"
"""Where the driver, its job and the source are seen."""

DRIVER = Path(sandbox_child.__file__).parent / "wheel.py"
OUT = "opt/build/out"
"""Where the driver leaves what it made."""

REQUIRES_MAX = 1 << 20

_NO_COMPILER = "the image has no compiler: add `build-essential` to `build.system_packages`"
_HINTS = (
    (r"(?:gcc|g\+\+|\bcc|c\+\+|linux-gnu-\S+)['`\"]?[: ].*(?:No such file|not found)", _NO_COMPILER),
    (r"[Nn]o acceptable C compiler|CMAKE_C(?:XX)?_COMPILER|Unknown compiler|: '(?:gcc|cc|g\+\+)'", _NO_COMPILER),
    (r"Python\.h: No such file", "Python's headers are missing: add `python3-dev` to `build.system_packages`"),
    (r"(?:cargo|rustc)\b.*(?:not found|No such file)", "its build needs Rust: add `cargo` to `build.system_packages`"),
    (
        r"fatal error: \S+\.h(?:pp)?: No such file",
        "a library's headers are missing: add its `-dev` package to `build.system_packages`",
    ),
    (
        r"ModuleNotFoundError|No module named",
        "its build imports what it does not declare: choose a version that has a wheel, or list a wheel of your own",
    ),
    (
        r"Temporary failure in name resolution|Network is unreachable|Could not resolve host",
        "its build downloads something, and has no network: build the wheel elsewhere and list that",
    ),
)
"""What the last lines of a failed build tell of its cause → what to do."""

_HINT = "choose a version that has a wheel, or build the wheel elsewhere and list that in the requirements"


def build(
    job: Mapping[str, Any],
    *,
    name: str,
    source: Path,
    into: Path,
    interpreter: Interpreter,
    env: Mapping[str, str],
    below: Sequence[PackedLayer],
    plan: Plan,
    store: Store,
    report: Report,
    execution: Execution,
) -> list[str]:
    """Build what `source` (an archive or a folder) holds, as `job` says, and put the wheel into the folder `into`.

    Returns the requirements that the backend asks for besides, in which case there is no wheel.  `BackendError` when
    the build fails, with what to do about it where that can be told.
    """
    with store.scratch() as work:
        try:
            given = _given(job, source=source, folder=work / "given")
            step = Step(
                what="the build of a package without a wheel",
                argv=(interpreter.path, f"{FOLDER}/{DRIVER.name}"),
                shown=name,
                env=_env(env, epoch=plan.epoch),
                network="none",
                files=(given,),
            )
            place = work / "step"
            place.mkdir()
            place.chmod(0o755)
            try:
                delta = Sandboxed().execute(
                    step,
                    name=name,
                    below=below,
                    plan=plan,
                    work=place,
                    store=store,
                    report=report,
                    execution=dataclasses.replace(execution, debug_shell=False),
                )
            except BackendError as problem:
                raise BackendError(
                    f"`{name}` has no wheel that fits, and could not be built",
                    details=problem.details,
                    hint=next((hint for mark, hint in _HINTS if re.search(mark, problem.details or "")), _HINT),
                ) from problem
            out = delta.path / OUT
            if any((delta.path / path).is_symlink() for path in ("opt", "opt/build", OUT)):  # it would lead out
                raise BackendError(
                    f"`{name}` has no wheel that fits, and could not be built",
                    details="its build left a link in place of its folder",
                    hint=_HINT,
                )
            asked = out / "requires.json"
            if _is_plain(asked) and asked.stat().st_size <= REQUIRES_MAX:
                return [str(text) for text in json.loads(asked.read_text(encoding="utf-8"))]
            found = [path for path in sorted(out.glob("*.whl")) if _is_plain(path)] if out.is_dir() else []
            if len(found) != 1:
                raise BackendError(f"the build of `{name}` left {len(found)} wheels", hint=_HINT)
            shutil.copyfile(found[0], into / found[0].name)
            return []
        finally:
            sandbox.remove_tree(work)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _given(job: Mapping[str, Any], *, source: Path, folder: Path) -> Given:
    folder.mkdir()
    folder.chmod(0o755)
    shutil.copyfile(DRIVER, folder / DRIVER.name)
    archive = ""
    if source.is_dir():
        shutil.copytree(source, folder / "source", symlinks=True)
    else:
        archive = str(job["archive"])
        shutil.copyfile(source, folder / archive)
    (folder / "job.json").write_text(json.dumps({**job, "archive": archive}), encoding="utf-8")
    return Given(target=FOLDER, source=folder)


def _env(env: Mapping[str, str], *, epoch: int) -> tuple[tuple[str, str], ...]:
    """The base's own variables, and what makes two builds alike."""
    path = env.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    own = {
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PATH": f"/opt/build/bin:{path}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(epoch),
        "TZ": "UTC0",
        "VIRTUAL_ENV": "/opt/build",
    }
    return tuple({**env, **own}.items())
