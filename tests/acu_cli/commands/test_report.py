from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from acu_cli.commands.animate_shapes import animate_shapes
from acu_cli.commands.report import report
from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run", "", {})
    with SnapshotWriter.create(run.positions, [LayerEntry("conv1", 1, 9), LayerEntry("conv2", 1, 9)]) as writer:
        for step in range(20):
            positions = np.random.default_rng(step).normal(size=(1, 9, 2))
            writer.append(step, [positions, positions], [np.ones((1, 9))] * 2)
    return run


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.command("report")(report)
    made.command("animate-shapes")(animate_shapes)
    return made


def test_the_page_goes_into_the_run_and_is_reported(app: typer.Typer, run: RunDirectory) -> None:
    result = CliRunner().invoke(app, ["report", str(run.path)], catch_exceptions=False)
    assert result.exit_code == 0
    page = run.figures / "report.html"
    assert page.read_text().startswith("<!doctype html>")
    assert result.stdout.startswith(f"{page}: 20 snapshots, iterations 0 to 19, ")


def test_the_report_is_strict_json_on_standard_output(app: typer.Typer, run: RunDirectory, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(run.path), "-o", str(output), "--json"], catch_exceptions=False)
    said = json.loads(result.stdout)
    assert said["path"] == str(output)
    assert said["bytes"] == output.stat().st_size
    assert said["position_error"] <= 0.01


def test_animate_shapes_writes_the_same_page(app: typer.Typer, run: RunDirectory, tmp_path: Path) -> None:
    for command in ("report", "animate-shapes"):
        result = CliRunner().invoke(
            app, [command, str(run.path), "-o", str(tmp_path / f"{command}.html")], catch_exceptions=False
        )
        assert result.exit_code == 0
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "animate-shapes.html").read_bytes()


@pytest.mark.parametrize("command", ["report", "animate-shapes"])
def test_a_page_of_a_part(app: typer.Typer, run: RunDirectory, tmp_path: Path, command: str) -> None:
    output = tmp_path / "part.html"
    arguments = [command, str(run.path), "-o", str(output), "--from", "3", "--to", "9", "--layers", "conv2"]
    said = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert (said["first_iteration"], said["last_iteration"], said["snapshots"]) == (3, 9, 7)
    assert '"name":"conv2"' in output.read_text()
    assert '"name":"conv1"' not in output.read_text()


def test_one_snapshot_is_one(app: typer.Typer, run: RunDirectory, tmp_path: Path) -> None:
    arguments = ["report", str(run.path), "-o", str(tmp_path / "one.html"), "--from", "5", "--to", "5"]
    assert ": one snapshot, iteration 5, " in CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


@pytest.mark.parametrize("option", ["--frames=300", "--fps=10", "--width=300", "--theme=dark"])
def test_what_a_page_has_no_use_for_is_refused(
    app: typer.Typer, run: RunDirectory, tmp_path: Path, option: str
) -> None:
    output = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["animate-shapes", str(run.path), "-o", str(output), option])
    assert isinstance(result.exception, UserError)
    assert option.partition("=")[0] in str(result.exception)
    assert not output.exists()


def test_a_page_shows_one_run(app: typer.Typer, run: RunDirectory, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["animate-shapes", str(run.path), str(run.path), "-o", str(tmp_path / "a.html")])
    assert isinstance(result.exception, UserError)
    assert "shows one run, not 2" in str(result.exception)


@pytest.mark.parametrize("command", ["report", "animate-shapes"])
def test_the_title_can_be_chosen(app: typer.Typer, run: RunDirectory, tmp_path: Path, command: str) -> None:
    output = tmp_path / "page.html"
    arguments = [command, str(run.path), "-o", str(output), "--title", "A < B"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "<title>A &lt; B</title>" in output.read_text()


def test_damaged_snapshots_are_warned_of(app: typer.Typer, run: RunDirectory) -> None:
    content = bytearray(run.positions.read_bytes())
    content[-1000] ^= 1
    run.positions.write_bytes(content)
    result = CliRunner().invoke(app, ["report", str(run.path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 of 20 snapshots" in " ".join(result.stderr.split())


def test_errors_of_the_user_reach_the_command_line_as_such(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path / "nothing")])
    assert isinstance(result.exception, UserError)
