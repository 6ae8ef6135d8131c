from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from acu_cli.app import app
from acu_core import ActiveConv2d, ShapeRecorder
from acu_core.errors import UserError


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    with ShapeRecorder(ActiveConv2d(1, 2, 3), tmp_path / "shapes.bin") as shapes:
        for iteration in range(10):
            shapes.record(iteration)
    return shapes.path


def test_a_recorders_file_becomes_numbers(shapes: Path, tmp_path: Path) -> None:
    output = tmp_path / "shapes.csv"
    result = CliRunner().invoke(app, ["positions", str(shapes), "-o", str(output)], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{output}: 90 rows, 10 snapshots of 1 layer, iterations 0 to 9" in result.stdout
    lines = output.read_text().splitlines()
    assert lines[0] == "iteration,layer,group,synapse,y,x,weight_norm"
    assert lines[1].startswith("0,ActiveConv2d,0,0,-1.0,-1.0,0.")
    assert len(lines) == 91


def test_the_report_is_strict_json(shapes: Path, tmp_path: Path) -> None:
    output = tmp_path / "shapes.npz"
    options = ["--from", "2", "--to", "8", "--every", "3", "--layers", "Active*", "--json"]
    result = CliRunner().invoke(app, ["positions", str(shapes), "-o", str(output), *options], catch_exceptions=False)
    assert json.loads(result.stdout) == {
        "path": str(output),
        "snapshots": 2,
        "first_iteration": 3,
        "last_iteration": 6,
        "layers": ["ActiveConv2d"],
        "rows": 18,
        "bytes": output.stat().st_size,
    }
    with np.load(output) as found:
        assert found["iterations"].tolist() == [3, 6]


def test_errors_and_warnings_reach_the_command_line(shapes: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["positions", str(shapes), "-o", str(tmp_path / "shapes.txt")])
    assert isinstance(result.exception, UserError)
    content = bytearray(shapes.read_bytes())
    content[-200] ^= 1
    shapes.write_bytes(content)
    output = tmp_path / "shapes.csv"
    result = CliRunner().invoke(app, ["positions", str(shapes), "-o", str(output)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 of 10 snapshots" in " ".join(result.stderr.split())
