"""`acu animate-shapes`: a run's snapshots as an animation or a still."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.interruption import ends_with


class Theme(enum.Enum):
    """As in acu_core.render.colours, which would import numpy for `--help`."""

    LIGHT = "light"
    DARK = "dark"


class Pace(enum.Enum):
    """As in acu_core.render.frame_schedule."""

    MOVEMENT = "movement"
    UNIFORM = "uniform"


def animate_shapes(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="A run's directory, or a positions.bin; up to four are drawn beside each other.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file: .gif, .webp, .mp4 or .webm, or a still of the last shapes as .png, .svg or .pdf; "
            "a .png moves where --frames are given. "
            "By default figures/shapes.gif in the run, the first of several.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="How many frames; by default as many as the motion needs.", show_default=False)
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; by default 20.", show_default=False)] = None,
    first: Annotated[int | None, typer.Option("--from", help="Iteration to begin with.", show_default=False)] = None,
    last: Annotated[int | None, typer.Option("--to", help="Iteration to end with.", show_default=False)] = None,
    iteration: Annotated[
        int | None, typer.Option(help="A still of this iteration, one that was recorded.", show_default=False)
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to show, with commas between; * stands for any letters.", show_default=False),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(help="Width in pixels; by default 800, less for one or two layers.", show_default=False),
    ] = None,
    theme: Annotated[Theme, typer.Option(help="The colours.")] = Theme.LIGHT,
    pace: Annotated[
        Pace, typer.Option(help="What passes evenly: the synapses' movement, or iterations.")
    ] = Pace.MOVEMENT,
    title: Annotated[
        str | None, typer.Option(help="Stands over the picture; by default the run's name.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Draw how the shapes of a run's layers changed, one panel a layer; of several runs side by side."""
    with ends_with("nothing is drawn yet"):
        from acu_core.render.animation import default_output, render_animation
        from acu_core.render.colours import THEMES
        from acu_core.render.frame_schedule import Pace as FramePace

    target = default_output(runs[0]) if output is None else output
    wanted = None if layers is None else [name.strip() for name in layers.split(",") if name.strip()]
    with ends_with(f"{target} is as it was before"), _Drawing() as drawing:
        report = render_animation(
            runs,
            target,
            frames=frames,
            fps=fps,
            first=first,
            last=last,
            iteration=iteration,
            layers=wanted,
            width=width,
            theme=THEMES[theme.value],
            pace=FramePace(pace.value),
            title=title,
            progress=drawing.update,
            warn=terminal.warning,
        )
    if json:
        terminal.json({**asdict(report), "path": str(report.path)})
    else:
        kind = "a still" if report.frames == 1 else f"{report.frames} frames at {report.fps:g} a second"
        terminal.print(f"{report.path}: {kind}, {report.bytes / 1e6:.2f} MB, drawn in {report.seconds:.1f} s")


class _Drawing:
    """A progress bar that begins when the number of frames is known, and anew when fewer frames are tried."""

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._total: int | None = None

    def __enter__(self) -> _Drawing:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def update(self, done: int, total: int) -> None:
        if total != self._total:
            self._shown.close()
            self._total = total
            self._bar = self._shown.enter_context(terminal.progress(total, "drawing", unit="frames"))
        self._bar.update(done)
        if done == total:
            # A bar has a thread, beside which a second try would be drawn by one core alone.
            self._shown.close()
            self._total = None
