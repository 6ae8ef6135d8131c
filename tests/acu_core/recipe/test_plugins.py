"""Packages that add to the registries by an entry point, as the command line finds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/networks.md").read_text()
NETWORK, REGISTRATION = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
((GROUP, ENTRY),) = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(.*?)```', PAGE, re.DOTALL)
NAMED = ("network.name=mine", "network.options={width=3}")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with a package as pip installs it, the page's."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "my_network.py").write_text(NETWORK)
    (folder / "my_plugin.py").write_text(REGISTRATION)
    install(folder, ENTRY.replace('"', ""))
    return folder


def install(folder: Path, entries: str) -> None:
    information = folder / "my_package-1.0.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")


def acu(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acu_cli", *arguments],
        cwd=packages.parent,
        env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(packages: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    short = (
        *("data.options={train_count=20, test_count=10}", "data.batch_size=4", "schedule={iterations=2}"),
        *("compare_frozen=false", "machine.threads=1", "machine.device=cpu"),
    )
    options = [word for change in (*short, *changes) for word in ("--set", change)]
    return acu(packages, "train", "planted", *options, "--out", "run")


def test_the_command_trains_and_resumes_what_a_plugin_adds(packages: Path) -> None:
    trained = train(packages, *NAMED)
    assert trained.returncode == 0, trained.stderr
    for use in (
        ("train", "--resume", "run", "--set", "schedule.iterations=3"),
        ("evaluate", "run"),
        ("round-and-finetune", "run", "--iterations", "1", "--out", "rounded"),
        ("animate-shapes", "run", "-o", "shapes.png"),
    ):
        done = acu(packages, *use)
        assert done.returncode == 0, done.stderr


def test_a_function_is_called_and_options_are_checked(packages: Path) -> None:
    lines = REGISTRATION.strip().splitlines()
    (packages / "my_plugin.py").write_text("def register():\n" + "\n".join(f"    {line}" for line in lines))
    install(packages, "mine = my_plugin:register")
    checked = train(packages, "network.name=mine", "network.options={widht=3}")
    assert checked.returncode == 2
    assert checked.stderr.splitlines()[-1] == (
        "error: recipe planted cannot be used: network.options.widht: unknown key; did you mean network.options.width?"
    )


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('first line\\nsecond')", "RuntimeError: first line"),
        ("def f(:", "SyntaxError: "),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(packages: Path, plugin: str, said: str) -> None:
    (packages / "my_plugin.py").write_text(plugin)
    refused = train(packages, *NAMED)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert f"network.name: the plugin mine (my_plugin) cannot be loaded: {said}" in " ".join(refused.stderr.split())
    assert "there is no network 'mine'" in " ".join(refused.stderr.split())
    # What needs no plugin is not disturbed by it.
    assert train(packages).returncode == 0


def test_a_table_that_cannot_be_imported_is_named(packages: Path) -> None:
    (packages / "my_network.py").unlink()
    refused = train(packages, *NAMED, "network.unti=acu")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "network: my_network:MyTable cannot be imported: No module named 'my_network'" in refused.stderr
