from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from acu_core.bench import render_bench
from acu_core.bench.made_up_run import make_up_run
from acu_core.render.recording import load_recording
from acu_core.runs.metrics import read_metrics


def test_a_made_up_run_is_one_that_is_read_and_drawn(tmp_path: Path) -> None:
    run = make_up_run(tmp_path / "run", iterations=640, layers=10)
    recording = load_recording(run)
    assert recording.iterations.tolist() == list(range(641))
    assert len(recording.positions) == 10
    assert recording.warm_up == 100
    assert recording.curve is not None
    assert recording.curve.drops.tolist() == [321, 481]
    assert len(recording.curve.errors) == 128
    assert len(read_metrics(run.metrics).training) == 640
    for values in recording.positions.values():
        # It waits, its centre never moves, and everything else does.
        assert np.all(values[:101] == values[0])
        assert np.all(values[:, 0, 4] == 0)
        moved = np.hypot(*(values[-1] - values[0])[0].T)
        assert np.all(np.delete(moved, 4) > 0)
    other = make_up_run(tmp_path / "other", iterations=640, layers=10)
    assert other.positions.read_bytes() == run.positions.read_bytes()
    assert other.metrics.read_bytes() == run.metrics.read_bytes()


def test_the_command_measures_drawing_opening_and_memory() -> None:
    from acu_cli.app import app

    short = ["bench", "render", "--rounds", "2", "--frames", "4", "--matplotlib-frames", "2"]
    short += ["--iterations", "50", "--layers", "3"]
    result = CliRunner().invoke(app, [*short, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    drawing = report["drawing"]
    assert (drawing["frames"], drawing["matplotlib_frames"]) == (4, 2)
    assert drawing["ratio"] == drawing["matplotlib"]["median"] / drawing["ours"]["median"] > 0
    assert report["opening"]["rounds"] == drawing["ours"]["rounds"] == 2
    assert set(report["peak_bytes"]) == {"2", "4"}
    assert report["machine"]["cores"] >= 1


def test_more_frames_than_there_are_cannot_be_drawn() -> None:
    from acu_cli.app import app

    result = CliRunner().invoke(app, ["bench", "render", "--frames", "4", "--matplotlib-frames", "5"])
    assert "FuncAnimation cannot draw 5" in str(result.exception)


def test_files_that_do_not_show_the_same_are_found(tmp_path: Path) -> None:
    files = {}
    for name, shade, side in (("a", 0, 40), ("b", 4, 40), ("c", 200, 40), ("d", 0, 42)):
        files[name] = tmp_path / f"{name}.gif"
        first, last = (Image.new("RGB", (side, 30), (grey, grey, grey)) for grey in (90, shade))
        first.save(files[name], save_all=True, append_images=[last])
    render_bench._check_alike(files["a"], files["b"])
    with pytest.raises(RuntimeError, match=r"not the same: 100.0% of their pixels differ"):
        render_bench._check_alike(files["a"], files["c"])
    with pytest.raises(RuntimeError, match="have the sizes"):
        render_bench._check_alike(files["a"], files["d"])
