"""No module imports itself by way of others: not lazily, not for types either. A reader could begin with neither."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"


def circle_in(root: Path) -> list[str]:
    """Modules that import one another in a ring, the first of them again at the end; nothing if there is none."""
    modules = {_name(path, root): path for path in root.rglob("*.py")}
    graph = {name: _imports(path, set(modules)) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside | ({node.module} if inside - known else set())
    return found & known


def test_there_is_no_circle() -> None:
    assert circle_in(SOURCE) == []


@pytest.mark.parametrize(
    "how", ["import house.a", "if TYPE_CHECKING:\n    from house.a import A", "def f(): from house import a"]
)
def test_each_kind_of_circle_would_be_found(tmp_path: Path, how: str) -> None:
    house = tmp_path / "house"
    house.mkdir()
    (house / "__init__.py").touch()
    (house / "a.py").write_text("from house.b import B\n")
    (house / "b.py").write_text(how + "\n")
    assert set(circle_in(tmp_path)) == {"house.a", "house.b"}
