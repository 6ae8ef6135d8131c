from __future__ import annotations

import json
from pathlib import Path

import caffe_network
import pytest
import typer
from typer.testing import CliRunner

from acu_cli.commands.animate_shapes import animate_shapes
from acu_cli.commands.import_caffe import import_caffe
from acu_core.errors import UserError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    for iteration in (10, 20):
        layers = caffe_network.made_up(seed=iteration)
        (folder / f"plain_iter_{iteration}.caffemodel").write_bytes(caffe_network.encode(layers))
    return [str(path) for path in sorted(folder.iterdir())]


def app() -> typer.Typer:
    made = typer.Typer()
    made.command("import-caffe")(import_caffe)
    made.command("animate-shapes")(animate_shapes)
    return made


def test_the_run_is_reported_and_can_be_drawn(files: list[str], tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    result = CliRunner().invoke(app(), ["import-caffe", *files, "--out", run], catch_exceptions=False)
    assert result.exit_code == 0
    assert "iteration 10" in result.stdout
    assert f"Imported into {run}, a network for 10 classes." in result.stdout
    assert f"acu evaluate {run}" in result.stdout
    still = tmp_path / "still.png"
    drawn = CliRunner().invoke(app(), ["animate-shapes", run, "-o", str(still)], catch_exceptions=False)
    assert drawn.exit_code == 0
    assert still.stat().st_size > 1000


def test_the_report_is_strict_json_on_standard_output(files: list[str], tmp_path: Path) -> None:
    arguments = ["import-caffe", *files, "--iteration", "7", "--iteration", "3", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app(), [*arguments, "--json"], catch_exceptions=False)
    report = json.loads(result.stdout)
    assert report == {
        "run": str(tmp_path / "run"),
        "recipe": "cifar10-plain-acu-imported",
        "classes": 10,
        "imported": [{"path": files[1], "iteration": 3}, {"path": files[0], "iteration": 7}],
    }


def test_errors_of_the_user_reach_the_command_line_as_such(tmp_path: Path) -> None:
    result = CliRunner().invoke(app(), ["import-caffe", str(tmp_path / "missing_iter_1.caffemodel")])
    assert isinstance(result.exception, UserError)
