"""Stills of any recorded iteration."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acu_core.bench.made_up_run import make_up_run
from acu_core.errors import UserError
from acu_core.render.animation import make_picture, render_animation
from acu_core.render.frame_schedule import plan_frames
from acu_core.render.recording import load_recording
from acu_core.render.still_file import encode_still
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_up_run(tmp_path_factory.mktemp("made-up") / "run", iterations=300, layers=2)


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    path = tmp_path / "sparse.bin"
    with SnapshotWriter.create(path, [LayerEntry("conv", 1, 2)]) as writer:
        for step in (10, 500, 90_000):
            writer.append(step, [[[[0, 0], [1 + step / 90_000, 0]]]], [[[1, 1]]])
    return path


def test_a_still_is_what_the_animation_shows_at_that_moment(run: RunDirectory) -> None:
    for iteration in (0, 150, 300):
        drawn, saved = (make_picture([load_recording(run)], frames=1, iteration=iteration, width=480) for _ in "ab")
        assert drawn.frames == 1
        moving = drawn.pixels(0).astype(int)
        saved.show(0)
        with Image.open(io.BytesIO(encode_still(saved.figure, ".png"))) as image:
            still = np.asarray(image.convert("RGB")).astype(int)
        assert still.shape == moving.shape
        # What moves is drawn last in an animation, and in the order of its kind in a still.
        assert np.mean(np.abs(still - moving).max(axis=-1) > 40) < 1e-4, iteration


def test_the_one_frame_is_the_snapshot_itself(run: RunDirectory) -> None:
    recording = load_recording(run)
    for iteration in (0, 1, 47, 299, 300):
        schedule = plan_frames([recording], frames=1, trail_points=20).only(iteration)
        (frame,) = schedule.frames
        assert schedule.recorded(frame)
        assert schedule.at_moments()[frame] == iteration
        assert schedule.moments[-1] == 300


def test_iterations_make_different_stills_of_one_size(run: RunDirectory, tmp_path: Path) -> None:
    pictures = []
    for iteration in (60, 200, None):
        report = render_animation(run, tmp_path / "a.png", iteration=iteration, width=480)
        assert report.frames == 1
        with Image.open(tmp_path / "a.png") as image:
            pictures.append(np.asarray(image.convert("RGB")))
    for first, second in ((0, 1), (1, 2)):
        assert np.any(pictures[first] != pictures[second])


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_a_still_of_a_run_has_no_pixels_in_it(run: RunDirectory, tmp_path: Path, suffix: str) -> None:
    outputs = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for output in outputs:
        render_animation(run, output, iteration=150)
    content = outputs[0].read_bytes()
    assert content == outputs[1].read_bytes()
    assert b"/Subtype /Image" not in content
    assert b"<image" not in content
    assert b"iteration 150" not in content or suffix == ".pdf"
    assert (b"/FontFile2" in content) == (suffix == ".pdf")


@pytest.mark.parametrize(
    ("iteration", "nearest"), [(0, "is 10"), (11, "are 10 and 500"), (700, "are 500 and 90000"), (90_001, "is 90000")]
)
def test_an_iteration_that_was_not_recorded_is_never_invented(
    sparse: Path, tmp_path: Path, iteration: int, nearest: str
) -> None:
    with pytest.raises(UserError, match=f"^sparse has no snapshot of iteration {iteration}: the nearest {nearest}$"):
        render_animation(sparse, tmp_path / "a.png", iteration=iteration)
    assert not (tmp_path / "a.png").exists()


def test_each_of_several_runs_must_have_recorded_it(sparse: Path, run: RunDirectory, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(sparse.read_bytes()[:-36])
    render_animation([sparse, other], tmp_path / "a.png", iteration=500)
    with pytest.raises(UserError, match="other has no snapshot of iteration 90000: the nearest is 500"):
        render_animation([sparse, other], tmp_path / "a.png", iteration=90_000)


def test_one_iteration_is_no_animation(run: RunDirectory, tmp_path: Path) -> None:
    for name in ("a.gif", "a.webp", "a.mp4", "a.webm"):
        with pytest.raises(UserError, match=f"one iteration is a still, {name} an animation"):
            render_animation(run, tmp_path / name, iteration=100)
    with pytest.raises(UserError, match="one iteration is a still"):
        render_animation(run, tmp_path / "a.png", iteration=100, frames=5)
    assert render_animation(run, tmp_path / "a.png", iteration=100, frames=1).frames == 1
    for name in ("a.pdf", "a.svg"):
        with pytest.raises(UserError, match="holds one picture, not 5 frames"):
            render_animation(run, tmp_path / name, frames=5)
