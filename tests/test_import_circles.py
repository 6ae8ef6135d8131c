"""No circle of imports, inside packages too: imports in functions and for type checkers count."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("acu_core", "acu_cli")
# Packages whose names are imported when they are first used: importing a name of theirs is importing the module where
# it is, and nothing else.
LAZY = {
    "acu_core": "the command line starts without torch, which the layer and the operator need",
}


def modules(root: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """The files by the name of the module; a package is its __init__."""
    found = {}
    for path in (path for package in packages for path in sorted((root / package).rglob("*.py"))):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Mapping[str, Path], lazy: Mapping[str, str]) -> Iterator[str]:
    """The modules of ours that a file imports anywhere; a name that is no module is one of its package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, last = name.rpartition(".")
            if name in known:
                yield name
            elif package in lazy:
                yield homes(known[package]).get(last, package)
            elif package in known:
                yield package


def homes(init: Path) -> dict[str, str]:
    """Where the names are that a package passes on."""
    nodes = [node for node in ast.walk(ast.parse(init.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in nodes for alias in node.names}


def circles(root: Path, packages: tuple[str, ...], lazy: Mapping[str, str]) -> list[list[str]]:
    """Every set of modules that reach each other, each as one way around."""
    known = modules(root, packages)
    graph = {name: set() if name in lazy else set(imports(path, known, lazy)) for name, path in known.items()}
    reached = {name: _reached(graph, name) for name in graph}
    found = []
    seen: set[str] = set()
    for name in sorted(graph):
        if name in reached[name] and name not in seen:
            seen |= {other for other in reached[name] if name in reached[other]}
            found.append(_way_around(graph, name))
    return found


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(graph[name])
    return found


def _way_around(graph: Mapping[str, set[str]], start: str) -> list[str]:
    ways = [[start]]
    while True:
        way = ways.pop(0)
        for name in sorted(graph[way[-1]]):
            if name == start:
                return [*way, name]
            if name not in way:
                ways.append([*way, name])


def test_no_circle_of_imports() -> None:
    found = circles(ROOT, PACKAGES, LAZY)
    assert not found, "\n".join(" -> ".join(circle) for circle in found)


def test_what_is_called_lazy_is() -> None:
    for name in LAZY:
        tree = ast.parse(modules(ROOT, PACKAGES)[name].read_text())
        assert [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
        at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [node for node in at_once if ast.unparse(node).startswith(("from acu", "import acu"))]


def test_circles_are_found(tmp_path: Path) -> None:
    def write(*lazy: str, **files: str) -> list[list[str]]:
        folder = tmp_path / "ours"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return circles(tmp_path, ("ours",), dict.fromkeys(lazy, ""))

    in_function = "def f():\n    from ours import b\n"
    assert write(__init__="", a=in_function, b="import os\n") == []
    assert write(__init__="", a=in_function, b="import ours.a\n") == [["ours.a", "ours.b", "ours.a"]]
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ours.a import C\n"
    assert write(__init__="", a="from ours.b import D\n", b=for_types) == [["ours.a", "ours.b", "ours.a"]]
    assert write(__init__="from ours.a import C\n", a="from ours import D\n") == [["ours", "ours.a", "ours"]]
    passed_on = "def __getattr__(name):\n    from ours.a import C\n"
    assert write("ours", __init__=passed_on, a="import os\n", b="from ours import C\n") == []
    assert write("ours", __init__=passed_on, a="import ours.b\n", b="from ours import C\n") == [
        ["ours.a", "ours.b", "ours.a"]
    ]
    assert write(__init__="", a="import ours.b\n", b="import ours.c\n", c="import ours.a\n") == [
        ["ours.a", "ours.b", "ours.c", "ours.a"]
    ]
