"""The house rules as tests: who may import whom, who may touch the world, linters, types, exit codes."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder import errors

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / "builder"

# docs/design.md, "Who may import whom": each room, and the rooms it may import.  `errors` and `report` may be
# imported by all.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "report": set(),
    "reference": set(),
    "process": set(),
    "frozen": set(),
    "plan": set(),
    "data": set(),
    "oci": {"plan"},
    "config": {"data", "plan"},
    "lock": {"config", "oci", "plan"},
    "cuda_matrix": {"data", "lock", "plan"},
    "schema": set(),
    "inflate": set(),
    "layers": set(),
    "codec": {"layers", "plan"},
    "bytecode": {"lock", "plan"},
    "compile": {"bytecode", "config", "lock", "plan"},
    "store": {"oci", "plan", "reference"},
    "fetch": {"plan", "store"},
    "layout": {"inflate", "layers", "oci", "plan", "reference", "store"},
    "sandbox": {"process"},
    "registry": {"fetch", "inflate", "oci", "plan", "process", "reference", "store"},
    "resolve": {
        "bytecode",
        "config",
        "cuda_matrix",
        "data",
        "fetch",
        "inflate",
        "layers",
        "layout",
        "lock",
        "oci",
        "plan",
        "process",
        "reference",
        "registry",
        "store",
    },
    "backends": {"codec", "engine", "fetch", "layers", "oci", "plan", "process", "sandbox", "store"},
    "engine": {"inflate", "layers", "oci", "plan", "process", "sandbox", "store"},
    "emit": {"config", "lock", "plan"},
    "cli": {
        "backends",
        "compile",
        "config",
        "cuda_matrix",
        "emit",
        "engine",
        "fetch",
        "layout",
        "lock",
        "oci",
        "plan",
        "process",
        "reference",
        "registry",
        "resolve",
        "sandbox",
        "schema",
        "store",
    },
}

# No stage below `cli` looks at these on its own: they are handed down.
FORBIDDEN_BELOW_CLI = {"os.environ", "os.getenv", "time.time", "datetime.now", "datetime.utcnow", "datetime.today"}
PURE = {"plan", "bytecode", "compile", "cuda_matrix", "data", "oci", "lock", "config", "schema"}
EFFECTS = {"subprocess", "socket", "requests", "urllib.request", "http.client", "sqlite3", "tempfile"}


def room(path: Path) -> str:
    parts = path.relative_to(BUILDER).parts
    return parts[0].removesuffix(".py").removesuffix("_child")


def files() -> list[Path]:
    return sorted(path for path in BUILDER.rglob("*.py") if path != BUILDER / "__init__.py")


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module
            if node.module == "builder":
                found += [(node.lineno, f"builder.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, node.module))
    return found


def test_import_table() -> None:
    wrong = []
    for path in files():
        own = room(path)
        assert own in ALLOWED, f"{path}: a new room needs a line in the import table"
        for line, name in imports(path):
            if not name.startswith("builder."):
                continue
            other = name.split(".")[1].removesuffix("_child")
            if other not in (own, "errors", "frozen", "report", "__version__") and other not in ALLOWED[own]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: `{own}` may not import `{other}`")
    assert not wrong, "\n".join(wrong)


def test_import_table_has_no_circle() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {name for name, below in ALLOWED.items() if name not in done and below <= done}
        assert ready, f"a circle among {sorted(set(ALLOWED) - done)}"
        done |= ready


def test_packer_is_stdlib_only() -> None:
    for path in files():
        if room(path) == "layers":
            for line, name in imports(path):
                top = name.split(".")[0]
                # isal only inflates: it makes no bytes, and its absence changes nothing
                assert top in sys.stdlib_module_names or top in ("builder", "isal"), f"{path}:{line}: {name}"


def test_builder_and_runtime_do_not_know_each_other() -> None:
    for path in files():
        assert not [name for _, name in imports(path) if name.split(".")[0] in ("runtime", "cog")], path
    for path in (ROOT / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] == "builder"], path


def test_pure_rooms_have_no_effects() -> None:
    for path in files():
        if room(path) in PURE:
            assert not [name for _, name in imports(path) if name in EFFECTS], path


def test_only_cli_reads_environment_and_clock() -> None:
    wrong = []
    for path in files():
        if room(path) == "cli":
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_BELOW_CLI
        ]
    assert not wrong, "\n".join(wrong)


def test_only_cli_prints() -> None:
    for path in files():
        if room(path) in ("cli",) or path.name.endswith("_child.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit"), f"{path}:{node.lineno}"


def test_only_few_rooms_start_processes() -> None:
    for path in files():
        if "subprocess" in [name for _, name in imports(path)]:
            assert room(path) in ("process", "sandbox"), path


def test_exit_codes_are_unique() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.CogsmithError)
    ]
    codes = [cls.exit_code for cls in classes]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
    assert 2 not in codes  # click's, for wrong usage


def test_no_registry_host_is_named() -> None:
    dots = ["py" + "pi.org", "python" + "hosted.org", "debian" + ".org", "npm" + "js.org"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix != ".pgp":
            text = path.read_text(errors="replace")
            assert not [host for host in dots if host in text], name


@pytest.mark.parametrize("arguments", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_linters(arguments: list[str]) -> None:
    tool = shutil.which(arguments[0], path=Path(sys.executable).parent) or shutil.which(arguments[0])
    if tool is None:
        pytest.skip(f"{arguments[0]} is not installed")
    done = subprocess.run([tool, *arguments[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_imports_little() -> None:
    code = """
import sys
from builder.cli import main
sys.argv = ["cogsmith", "--help"]
try:
    main()
except SystemExit:
    pass
print(sorted(m for m in ("pydantic", "fastapi", "requests", "oras", "yaml", "sqlite3", "tomllib") if m in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_test_files_have_names_of_their_own() -> None:
    """Folders without `__init__.py` share one space of module names; the second of a name would not be run."""
    names: dict[str, list[Path]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        if not (path.parent / "__init__.py").exists():
            names.setdefault(path.name, []).append(path)
    assert not [paths for paths in names.values() if len(paths) > 1]
