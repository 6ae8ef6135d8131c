"""Which way the imports point, and what the command line may import before it knows the command."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import acu_core

ROOT = Path(__file__).parent.parent
# What each part may import of ours. These import nothing of ours, and may be imported everywhere.
LEAVES = {"errors", "durable", "sample"}
ALLOWED = {
    "acu_core/op": {"op"},
    "acu_core/verify": {"verify", "op"},
    "acu_core/runs": {"runs"},
    "acu_core/recipe": {"recipe"},
    "acu_core/data": {"data", "recipe"},
    "acu_core/nn": {"nn", "op", "recipe"},
    "acu_core/render": {"render", "runs"},
    "acu_core/report": {"report", "render", "runs", "recipe"},
    "acu_core/learn": {"learn", "recipe", "nn", "data", "op"},
    "acu_core/train": {"train", "learn", "recipe", "runs", "nn", "data", "op"},
    "acu_core/experiments": {"experiments", "train", "learn", "recipe", "runs", "nn", "op"},
}
BELOW = {"experiments", "train", "learn", "recipe", "runs", "nn", "data", "op"}
ALLOWED |= {f"acu_core/{part}": {part, *BELOW} for part in ("forecast", "reproduce", "caffe", "export", "bench")}
ALLOWED["acu_core/reproduce"] |= {"forecast", "report"}
ALLOWED["acu_core/export"] |= {"bench"}
ALLOWED["acu_core/bench"] |= {"forecast", "render"}
COMMAND_LINE_ONLY = {"typer", "rich", "click"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_point_one_way(folder: str) -> None:
    for path in sources(folder):
        for name in imported(path):
            parts = name.split(".")
            assert parts[0] not in COMMAND_LINE_ONLY, f"{path} imports {name}"
            assert parts[0] != "acu_cli", f"{path} imports {name}"
            if parts[0] == "acu_core" and parts[1] not in LEAVES:
                assert parts[1] in ALLOWED[folder], f"{path} imports {name}"


def test_packages_export_nothing_by_themselves() -> None:
    for path in (ROOT / "acu_core").glob("*/**/__init__.py"):
        (only,) = ast.parse(path.read_text()).body
        assert isinstance(only, ast.Expr), path
        assert isinstance(only.value, ast.Constant), path


def test_the_public_names_are_there() -> None:
    for name in acu_core.__all__:
        assert getattr(acu_core, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        acu_core.nothing  # noqa: B018


def test_every_part_is_covered() -> None:
    parts = {f"acu_core/{path.parent.name}" for path in (ROOT / "acu_core").glob("*/__init__.py")}
    assert parts == set(ALLOWED)


def test_only_one_file_imports_torchvision_in_the_data() -> None:
    importers = {
        path.name for path in sources("acu_core/data") for name in imported(path) if name.startswith("torchvision")
    }
    assert importers == {"torchvision_source.py"}


def test_only_the_terminal_prints() -> None:
    for path in [*sources("acu_core"), *sources("acu_cli")]:
        if path.name in ("terminal.py", "build.py"):  # build.py speaks to pip
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printing = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        assert not printing, f"{path}:{printing[0].lineno}"


def test_files_stay_readable() -> None:
    for suffix in ("*.py", "*.cpp", "*.h", "*.cu", "*.cuh"):
        for path in [*(ROOT / "acu_core").rglob(suffix), *(ROOT / "acu_cli").rglob(suffix)]:
            assert len(path.read_text().splitlines()) <= 400, path


def test_help_does_not_import_torch() -> None:
    program = (
        "import sys; from acu_cli.app import app; sys.argv = ['acu', '--help']\n"
        "try: app()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=60)
