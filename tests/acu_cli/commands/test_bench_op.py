"""`acu bench op` on a GPU: what it prints of rows that were also replayed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from acu_cli.app import app
from acu_core.bench import operator_bench
from acu_core.bench.contestants import Shape
from acu_core.bench.operator_bench import OperatorRow
from acu_core.bench.timing import Timing
from acu_core.errors import UserError

SHAPE = Shape(2, 4, 6, 7, 8, 9, 1)
COMMAND = ["bench", "op", "--shape", "2,4,6,7,8,9,1", "--rounds", "2", "--quick"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*arguments: object, **options: object) -> list[OperatorRow]:
        call, kernels = Timing(0.004321, 0.0, 2), Timing(0.000123, 0.0, 2)
        replayed = OperatorRow(SHAPE, "conv2d channels_last", call, call, 1.0, 1.0, None, kernels, kernels, 1.0, 1.0)
        return [replayed, OperatorRow(SHAPE, "dense kernel", call, call, 3.0, 2.0)]

    monkeypatch.setattr(operator_bench, "measure_operator", rows)


def test_kernels_have_columns_of_their_own(measured: None) -> None:
    result = CliRunner().invoke(app, COMMAND, env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    assert "kernels ms" in result.stdout
    (replayed,) = [line for line in result.stdout.splitlines() if "conv2d" in line and "0.123" in line]
    assert replayed.count("0.123") == 2
    assert replayed.count("4.32") == 2
    assert "replayed as a graph" in result.stdout


def test_the_figures_are_in_the_json(measured: None) -> None:
    result = CliRunner().invoke(app, [*COMMAND, "--json"])
    found = json.loads(result.stdout)
    assert found["tf32"] is False
    assert found["rows"][0]["both_replayed"]["median"] == 0.000123
    assert found["rows"][1]["both_replayed"] is None


def test_tf32_is_refused_on_a_cpu() -> None:
    result = CliRunner().invoke(app, [*COMMAND, "--tf32"])
    assert isinstance(result.exception, UserError)
    assert "NVIDIA GPU" in str(result.exception)
