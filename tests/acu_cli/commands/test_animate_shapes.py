from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from acu_cli.commands.animate_shapes import animate_shapes
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


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(animate_shapes)
    return made


def test_the_animation_goes_into_the_run_and_is_reported(run: RunDirectory) -> None:
    result = CliRunner().invoke(app(), [str(run.path), "--frames", "3", "--width", "240"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (run.figures / "shapes.gif").is_file()
    assert "shapes.gif: 3 frames at 20 a second" in result.stdout
    assert "\x1b" not in result.output
    assert "\r" not in result.output


def test_the_report_is_strict_json_on_standard_output(run: RunDirectory, tmp_path: Path) -> None:
    output = tmp_path / "still.png"
    result = CliRunner().invoke(
        app(),
        [str(run.path), "-o", str(output), "--layers", "conv2", "--from", "2", "--to", "9", "--json"],
        catch_exceptions=False,
    )
    report = json.loads(result.stdout)
    assert report["path"] == str(output)
    assert report["frames"] == 1
    assert report["bytes"] == output.stat().st_size


def test_damaged_snapshots_are_warned_of(run: RunDirectory, tmp_path: Path) -> None:
    content = bytearray(run.positions.read_bytes())
    content[-1000] ^= 1
    run.positions.write_bytes(content)
    result = CliRunner().invoke(app(), [str(run.path), "-o", str(tmp_path / "still.png")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 of 20 snapshots" in " ".join(result.stderr.split())


def test_errors_of_the_user_reach_the_command_line_as_such(run: RunDirectory) -> None:
    result = CliRunner().invoke(app(), [str(run.path), "--layers", "conv9"])
    assert isinstance(result.exception, UserError)
