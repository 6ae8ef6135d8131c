"""`acu animate-shapes --view receptive-field`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from acu_cli.app import main
from acu_cli.commands.animate_shapes import animate_shapes
from acu_core.experiments.frozen_twin import train
from acu_core.recipe.schema import Recipe
from acu_core.render.colours import DARK


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(animate_shapes)
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> Path:
    path = tmp_path_factory.mktemp("runs") / "trained"
    train(tiny("optimizer.position_learning_rate_factor=2.0"), path)
    return path


def test_the_receptive_field_is_a_view_of_a_run(trained: Path) -> None:
    arguments = [str(trained), "--view", "receptive-field", "--frames", "3", "--width", "800", "--theme", "dark"]
    result = CliRunner().invoke(app(), [*arguments, "--json"], catch_exceptions=False)
    report = json.loads(result.stdout)
    assert report["path"] == str(trained / "figures" / "receptive-field.gif")
    assert (report["frames"], report["width"]) == (3, 800)
    assert (report["weights_iteration"], report["first_iteration"], report["last_iteration"]) == (12, 0, 12)
    # It starts on the grid.
    assert report["first_radius"] == report["fixed_radius"]
    assert report["last_radius"] != pytest.approx(report["first_radius"], rel=1e-2)
    with Image.open(report["path"]) as image:
        assert image.n_frames == 3
        assert image.convert("RGB").getpixel((1, 1)) == tuple(round(255 * c) for c in DARK.paper)
    said = CliRunner().invoke(app(), arguments, catch_exceptions=False).stdout.splitlines()
    assert "receptive-field.gif: 3 frames at 20 a second" in said[0]
    assert said[1] == (
        f"RMS radius in pixels: {report['first_radius']:.2f} at iteration 0, {report['last_radius']:.2f} at 12, "
        f"{report['fixed_radius']:.2f} on the fixed grid, all with the weights of iteration 12"
    )


def test_the_shapes_are_the_default_view(trained: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a.gif", tmp_path / "b.gif"]
    for output, view in zip(outputs, ([], ["--view", "shapes"]), strict=True):
        arguments = [str(trained), "-o", str(output), "--frames", "2", "--width", "800", *view]
        assert CliRunner().invoke(app(), arguments, catch_exceptions=False).exit_code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{run}", "{run}"], "draws one run, not 2: draw each into a file of its own"),
        (["{run}", "--layers", "unit"], "shows all layers as one network, so leave --layers away"),
        (["{run}/positions.bin"], "needs the weights of a run too: draw the shapes by --view shapes"),
        (["{run}", "--frames", "0"], "frames must be 1 to 10000"),
    ],
)
def test_what_no_receptive_field_is_drawn_of_is_one_sentence(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    output = tmp_path / "old.gif"
    output.write_bytes(b"old")
    given = [argument.format(run=trained) for argument in arguments]
    words = ["acu", "animate-shapes", *given, "--view", "receptive-field", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    error = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2
    assert error.startswith("error: ")
    assert sentence in error
    assert output.read_bytes() == b"old"
