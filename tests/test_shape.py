"""The shape of the code: imports point down, there are no cycles, files stay readable."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "haneul"
# Each layer may import itself and the layers named after it.
LAYERS = {
    "cli": ["cloud", "console", "quality", "services", "models", "chips", "store", "base"],
    "cloud": ["console", "services", "auto", "models", "chips", "store", "base"],
    "quality": ["services", "models", "store", "base"],
    "console": ["base"],
    "testing": ["base"],
    "services": ["auto", "models", "chips", "store", "base"],
    "auto": ["store", "base"],
    "models": ["chips", "store", "base"],
    "chips": ["base"],
    "store": ["base"],
    "engine": ["base"],
    "base": [],
}
# The modules beside the layers that make up the running cloud.
CLOUD = {
    "cloud",
    "server",
    "api",
    "openapi",
    "protocol",
    "listener",
    "parts",
    "sockets",
    "worker",
    "workers",
}
LINES_MAX = 400
FUNCTION_LINES_MAX = 80
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1:
        return "base"  # the package itself: its version
    if module == "haneul.__main__":
        return "cli"
    return "cloud" if parts[1] in CLOUD else parts[1]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    known = {name_of(path) for path in MODULES}
    return {name for name in found if name in known}


def test_imports_point_down():
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in MODULES
        for name in imports_of(path)
        if layer_of(name) not in [layer_of(name_of(path)), *LAYERS[layer_of(name_of(path))]]
    ]
    assert wrong == []


def test_there_are_no_import_cycles():
    graph = {name_of(path): imports_of(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail, name])
        if name in done:
            return
        for below in graph[name]:
            if not name.startswith(below + "."):  # a package's own __init__ imports nothing
                visit(below, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_package_files_import_nothing_of_ours():
    inits = [path for path in MODULES if path.name == "__init__.py"]
    assert {name_of(path): imports_of(path) for path in inits if imports_of(path)} == {}


def test_no_file_hides_a_second_idea():
    long = {
        name_of(path): count
        for path in MODULES
        if (count := len(path.read_text().splitlines())) > LINES_MAX
        and "migrations" not in path.parts
    }
    assert long == {}


def test_functions_stay_short():
    long = [
        f"{name_of(path)}.{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in MODULES
        if "migrations" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_module_keeps_state_in_globals():
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Global)
    ]
    assert found == []


def test_nothing_is_unpickled_or_evaluated():
    banned = {"pickle", "marshal", "shelve", "dill", "joblib"}
    found = [
        f"{name_of(path)} imports {name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
        if name.split(".")[0] in banned
    ]
    calls = [
        f"{name_of(path)}:{node.lineno} calls {node.func.id}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"eval", "exec"}
    ]
    assert found + calls == []
