"""Why Nix failed, in words of ours: what it printed is searched for the few things that happen.  Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from builder import process
from builder.backends.nix_tool import Tool
from builder.errors import BackendError, CogsmithError, LayerError
from builder.plan import Locked, PackagesLayer, Plan, layer_key, title

_MARK = "cogsmith: "
ELSEWHERE = "run the command above to see more; `--backend embedded` makes the same image without Nix"
_MISMATCH = re.compile(
    r"hash mismatch in fixed-output derivation '[^']*-([^'/]+)\.drv'.*?specified: *(\S+).*?got: *(\S+)", re.S
)
_NAMESPACES = ("kernel namespaces", "user namespace", "unsharing", "clone", "sandboxing builds is", "mount namespace")
UNSANDBOXED = (
    "allow user namespaces (`sysctl kernel.unprivileged_userns_clone=1`; in a container, let it make them), or give up"
    " the sandbox with `--nix-unsandboxed`: the digest is the same, but the build sees all of this machine"
)


def explained(
    plan: Plan, *, command: Sequence[str], code: int, errors: bytes, known: Mapping[str, Locked], tool: Tool
) -> CogsmithError:
    """The error for a `nix-build` that ended with `code` and wrote `errors`."""
    text = errors.decode(errors="replace")
    details = process.explain(command, code, errors)
    if found := _MISMATCH.search(text):
        name, want, got = found[1], _hex(found[2]), _hex(found[3])
        return _mismatch(plan, name=name, want=want, got=got, known=known)
    if full := tool.full(errors, details=details):
        return full
    own = [line.split(_MARK, 1)[1] for line in text.splitlines() if _MARK in line]
    if own:
        hints = [line.removeprefix("hint: ") for line in own if line.startswith("hint: ")]
        lines = list(dict.fromkeys(line for line in own if not line.startswith("hint: ")))
        return LayerError(lines[0], details="\n".join(lines[1:]) or None, hint=hints[0] if hints else None)
    if any(mark in text for mark in _NAMESPACES):
        return BackendError("Nix has no sandbox on this machine", details=details, hint=UNSANDBOXED)
    return BackendError("Nix could not build the image", details=details, hint=ELSEWHERE)


def _mismatch(plan: Plan, *, name: str, want: str, got: str, known: Mapping[str, Locked]) -> CogsmithError:
    for layer in plan.layers:
        locked = known.get(layer_key(layer, compression=plan.compression, codec=plan.codec))
        if locked is None or locked.digest != f"sha256:{want}":
            continue
        if isinstance(layer, PackagesLayer):
            return LayerError(
                f"the layer `{title(layer)}` comes out otherwise where its packages' scripts are not run",
                details=f"installed: {locked.digest}\nby Nix:    sha256:{got}",
                hint="make it by `cogsmith build --backend embedded`: `--backend nix` takes it from the local store",
            )
        return LayerError(
            f"the layer `{title(layer)}` came out as sha256:{got}, but the lock says {locked.digest}",
            hint="the lock was made by another release of Cogsmith: run `cogsmith lock` again",
        )
    return LayerError(
        f"`{name}` is not the file that was locked: its content is different",
        details=f"expected: sha256 {want}\nfound:    sha256 {got}",
        hint="it was replaced where it is downloaded from: run `cogsmith lock` again if that was meant",
    )


def _hex(text: str) -> str:
    """A hash as Nix prints it (`sha256-BASE64=`, or `sha256:` and hex) in hexadecimal."""
    if text.startswith("sha256-"):
        return base64.b64decode(text.removeprefix("sha256-")).hex()
    return text.removeprefix("sha256:")
