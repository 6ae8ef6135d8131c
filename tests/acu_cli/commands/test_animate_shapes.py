from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image, ImageChops
from typer.testing import CliRunner

from acu_cli.commands import animate_shapes as animate_shapes_module
from acu_cli.commands.animate_shapes import animate_shapes
from acu_core.errors import UserError
from acu_core.render.colours import DARK, THEMES
from acu_core.render.frame_schedule import Pace
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
    result = CliRunner().invoke(app(), [str(run.path), "--frames", "3", "--width", "480"], catch_exceptions=False)
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


def pictures(run: RunDirectory, tmp_path: Path, *options: str) -> Image.Image:
    output = tmp_path / "still.png"
    arguments = [str(run.path), "-o", str(output), *options]
    result = CliRunner().invoke(app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0
    with Image.open(output) as image:
        return image.convert("RGB").copy()


def test_theme_pace_and_title_reach_the_picture(run: RunDirectory, tmp_path: Path) -> None:
    plain = pictures(run, tmp_path)
    paper = tuple(round(255 * part) for part in DARK.paper)
    assert pictures(run, tmp_path, "--theme", "dark").getpixel((0, 0)) == paper != plain.getpixel((0, 0))
    titled = pictures(run, tmp_path, "--title", "Some other words")
    assert ImageChops.difference(plain, titled).getbbox() is not None
    frames = [tmp_path / f"{pace}.gif" for pace in ("movement", "uniform")]
    for path in frames:
        result = CliRunner().invoke(app(), [str(run.path), "-o", str(path), "--frames", "4", "--pace", path.stem])
        assert result.exit_code == 0
    assert frames[0].read_bytes() != frames[1].read_bytes()
    for option in ("--theme", "--pace"):
        result = CliRunner().invoke(app(), [str(run.path), option, "other"])
        assert result.exit_code == 2


def test_two_runs_go_into_the_first(run: RunDirectory, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app(), [str(run.path), str(run.positions), "--frames", "2", "--width", "640"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert (run.figures / "shapes.gif").is_file()


def test_the_endings_that_an_error_names_are_those_that_can_be_written(run: RunDirectory, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(UserError, match="must end with one of") as caught:
            CliRunner().invoke(app(), [*arguments, "-o", str(tmp_path / "a.txt")], catch_exceptions=False)
        return str(caught.value)

    assert ".svg, .pdf, .html:" in refused(str(run.path))
    assert ".html" not in refused(str(run.path), str(run.positions))
    assert ".html" not in refused(str(run.path), "--view", "receptive-field")


@pytest.mark.parametrize(("runs", "narrowest"), [(1, 460), (2, 640), (3, 800)])
def test_a_width_at_which_text_could_not_be_read_is_refused(
    run: RunDirectory, tmp_path: Path, runs: int, narrowest: int
) -> None:
    arguments = [str(run.path)] * runs + ["-o", str(tmp_path / "a.png"), "--width"]
    with pytest.raises(UserError, match=f"must be {narrowest} to 4000 pixels, got {narrowest - 1}: narrower, its text"):
        CliRunner().invoke(app(), [*arguments, str(narrowest - 1)], catch_exceptions=False)
    assert CliRunner().invoke(app(), [*arguments, str(narrowest)], catch_exceptions=False).exit_code == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == narrowest


def test_the_choices_are_those_of_the_library() -> None:
    assert [theme.value for theme in animate_shapes_module.Theme] == list(THEMES)
    assert [pace.value for pace in animate_shapes_module.Pace] == [pace.value for pace in Pace]
