"""How long a run takes to be opened and drawn, beside Matplotlib's own way to draw the same picture."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from PIL import Image

from acu_core.bench.made_up_run import make_up_run
from acu_core.bench.timing import Timing, alternate
from acu_core.forecast.high_water_mark import high_water_mark, start_high_water_mark
from acu_core.learn.processor import processor_name
from acu_core.render.animation import make_picture, render_animation
from acu_core.render.picture import Picture
from acu_core.render.recording import load_recording

WIDTH, LAYERS, ITERATIONS = 900, 6, 3000
_FPS = 20
# Two pixels are alike when no channel is further away (of 255): both files have palettes of their own.
_ALIKE, _SHARE_ALIKE = 48, 0.98


@dataclass(frozen=True)
class DrawingRow:
    """Seconds for `frames` frames as a GIF file: all of our work, from the run's directory on, and Matplotlib's.

    Matplotlib drew `matplotlib_frames` of them in each round, and its time a frame is taken `frames` times. `ratio` is
    how many times faster ours is.
    """

    frames: int
    matplotlib_frames: int
    ours: Timing
    matplotlib: Timing
    ratio: float


def machine() -> dict[str, str | int]:
    """What the figures depend on, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = {name: metadata.version(name) for name in ("matplotlib", "pillow", "numpy")}
    return {"processor": processor_name() or platform.machine(), "cores": cores, **versions}


def measure_drawing(
    *,
    frames: int = 200,
    matplotlib_frames: int = 20,
    rounds: int = 3,
    progress: Callable[[int], None] | None = None,
) -> DrawingRow:
    """Times `render_animation` and `FuncAnimation` with its Pillow writer on the same picture, 900 pixels wide.

    A made-up run of six layers. `FuncAnimation` shows every so many of the same frames on the same figure; its figure
    is made before its time begins. `progress` is told the rounds that are done.

    Raises:
        RuntimeError: the two files do not show the same.
    """
    with tempfile.TemporaryDirectory() as directory:
        run = make_up_run(Path(directory) / "run", iterations=ITERATIONS, layers=LAYERS)
        files = {name: Path(directory) / f"{name}.gif" for name in ("ours", "matplotlib")}
        picture = make_picture([load_recording(run)], frames=frames, width=WIDTH)

        def draw() -> None:
            render_animation(run, files["ours"], frames=frames, width=WIDTH, fps=_FPS)

        # Fonts and libraries are loaded before anything is timed.
        render_animation(run, files["ours"], frames=2, width=WIDTH)
        _save_by_matplotlib(picture, 2, files["matplotlib"])
        timings = alternate(
            {"ours": draw, "matplotlib": lambda: _save_by_matplotlib(picture, matplotlib_frames, files["matplotlib"])},
            rounds=rounds,
            warm_up=0,
            after_round=progress,
        )
        _check_alike(*files.values())
    scale = frames / matplotlib_frames
    theirs = timings["matplotlib"]
    theirs = Timing(theirs.median * scale, theirs.spread * scale, theirs.rounds)
    return DrawingRow(frames, matplotlib_frames, timings["ours"], theirs, theirs.median / timings["ours"].median)


def measure_opening(*, iterations: int = 64_000, layers: int = 32, rounds: int = 3) -> Timing:
    """Times `load_recording`, log included, on a made-up run whose files have just been written."""
    with tempfile.TemporaryDirectory() as directory:
        run = make_up_run(Path(directory) / "run", iterations=iterations, layers=layers)
        return alternate({"open": lambda: load_recording(run)}, rounds=rounds, warm_up=1)["open"]


def peak_of_drawing(frames: int) -> int:
    """Bytes by which drawing so many frames of a made-up run raises what a fresh process had at most."""
    program = (
        "import sys; from acu_core.bench.render_bench import growth_in_this_process; "
        "print(growth_in_this_process(sys.argv[1], int(sys.argv[2])))"
    )
    with tempfile.TemporaryDirectory() as directory:
        run = make_up_run(Path(directory) / "run", iterations=ITERATIONS, layers=LAYERS)
        answer = subprocess.run(
            [sys.executable, "-c", program, str(run.path), str(frames)], stdout=subprocess.PIPE, text=True, check=True
        )
    return int(answer.stdout)


def growth_in_this_process(run: str, frames: int) -> int:
    """For a fresh process."""
    output = Path(run) / "figures" / "shapes.gif"
    render_animation(run, output, frames=2, width=WIDTH)
    before = start_high_water_mark()
    render_animation(run, output, frames=frames, width=WIDTH)
    return high_water_mark() - before


def _save_by_matplotlib(picture: Picture, frames: int, path: Path) -> None:
    from matplotlib.animation import FuncAnimation, PillowWriter

    chosen = np.linspace(0, picture.frames - 1, frames).round().astype(int).tolist()

    def show(frame: int) -> list[Artist]:
        picture.show(frame)
        return []

    animation = FuncAnimation(picture.figure, show, frames=chosen, init_func=list, blit=False, cache_frame_data=False)
    animation.save(path, writer=PillowWriter(fps=_FPS))


def _check_alike(ours: Path, matplotlib: Path) -> None:
    """Compares the last frames."""
    shown = []
    for path in (ours, matplotlib):
        with Image.open(path) as image:
            image.seek(image.n_frames - 1)
            shown.append(np.asarray(image.convert("RGB")).astype(int))
    if shown[0].shape != shown[1].shape:
        raise RuntimeError(f"the pictures have the sizes {shown[0].shape[:2]} and {shown[1].shape[:2]}")
    alike = float(np.mean(np.abs(shown[0] - shown[1]).max(axis=-1) <= _ALIKE))
    if alike < _SHARE_ALIKE:
        raise RuntimeError(f"the pictures are not the same: {1 - alike:.1%} of their pixels differ")
