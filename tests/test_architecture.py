"""Imports run one way, in the order of docs/architecture.md, and only what start-up needs is imported in functions."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "sentiment_tf").rglob("*.py")
}
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
(ORDER,) = re.findall(r"^errors → .*(?:\n.*)*?pipeline → commands$", PAGE, flags=re.MULTILINE)
ROOMS = [room.strip() for room in ORDER.split("→")]


def imports(module: str) -> set[str]:
    """Modules of the package that a module imports, in functions too."""
    nodes = ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8")))
    named = {
        f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in FILES else node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {name for name in named if name in FILES and name not in (module, "sentiment_tf")}


def floor(module: str) -> int:
    """Place of a module in the order: that of its file, if the order names it, else that of its folder."""
    path = module.removeprefix("sentiment_tf.").replace(".", "/")
    places = [room for room in (path, path.split("/")[0]) if room in ROOMS]
    return ROOMS.index(places[0] if places else "commands")


@pytest.mark.parametrize("module", sorted(FILES))
def test_no_import_runs_back_up(module):
    above = {name for name in imports(module) if floor(name) > floor(module)}
    assert not above or module == "sentiment_tf"  # which names the public functions, and loads them when they are used


def test_there_is_no_circle():
    graph = {module: imports(module) for module in FILES if module != "sentiment_tf"}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(FILES) - 1


@pytest.mark.parametrize("module", sorted(FILES))
def test_an_import_in_a_function_says_why(module):
    """Such as: TensorFlow loads after flags and data are checked; a library is not installed everywhere."""
    text = FILES[module].read_text(encoding="utf-8")
    lines = {
        inner.lineno: text.splitlines()[inner.lineno - 1].strip()
        for outer in ast.walk(ast.parse(text))
        if isinstance(outer, ast.FunctionDef)
        for inner in ast.walk(outer)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    assert not {number: line for number, line in lines.items() if "#" not in line}
