"""`acu animate-shapes`: a run's snapshots as an animation or a still."""

from __future__ import annotations

import enum
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.commands.report import write_page
from acu_cli.drawing_progress import DrawingProgress
from acu_cli.field_drawing import draw_receptive_field, radii
from acu_cli.interruption import ends_with
from acu_cli.json_report import named_runs


class View(enum.Enum):
    """What of a run is drawn."""

    SHAPES = "shapes"
    RECEPTIVE_FIELD = "receptive-field"


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
    view: Annotated[
        View,
        typer.Option(
            help="The layers' shapes, or what they amount to: where the network's centre unit looks in the image, with "
            "the newest weights."
        ),
    ] = View.SHAPES,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file: .gif, .webp, .mp4 or .webm, a still of the last frame as .png, .svg or .pdf, or a page as "
            ".html; a .png moves where --frames are given. "
            "By default figures/shapes.gif or figures/receptive-field.gif in the run, the first of several.",
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
        typer.Option(
            help="Width in pixels, at least 460, for several runs more; by default 800, less for one or two layers.",
            show_default=False,
        ),
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
    wanted = terminal.names(layers)
    if output is not None and output.suffix.lower() == ".html":
        _refuse_for_pages(
            runs,
            frames=frames,
            fps=fps,
            iteration=iteration,
            width=width,
            view=None if view is View.SHAPES else view,
            theme=None if theme is Theme.LIGHT else theme,
            pace=None if pace is Pace.MOVEMENT else pace,
        )
        write_page(runs[0], output, first=first, last=last, layers=wanted, title=title, json=json)
        return
    with ends_with("nothing is drawn yet"):
        from acu_core.render.animation import default_output, render_animation
        from acu_core.render.colours import THEMES
        from acu_core.render.field_animation import FieldReport, default_field_output
        from acu_core.render.frame_schedule import Pace as FramePace
        from acu_core.render.picture_file import RenderReport, check_suffix

    report: RenderReport
    field = view is View.RECEPTIVE_FIELD
    target = output or (default_field_output if field else default_output)(runs[0])
    # A page shows the shapes of one run.
    check_suffix(target, *([".html"] if not field and len(runs) == 1 else []))
    with ends_with(f"{target} is as it was before"), DrawingProgress() as progress:
        if field:
            report = draw_receptive_field(
                runs,
                target,
                layers=layers,
                frames=frames,
                fps=fps,
                first=first,
                last=last,
                iteration=iteration,
                width=width,
                theme=THEMES[theme.value],
                pace=FramePace(pace.value),
                title=title,
                progress=progress,
            )
        else:
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
                progress=progress.drawing,
                warn=terminal.warning,
            )
    if json:
        terminal.json({**named_runs(runs), **asdict(report), "path": str(report.path)})
    else:
        kind = "a still" if report.frames == 1 else f"{report.frames} frames at {report.fps:g} a second"
        terminal.print(f"{report.path}: {kind}, {report.bytes / 1e6:.2f} MB, drawn in {report.seconds:.1f} s")
        if isinstance(report, FieldReport):
            terminal.print(radii(report))


def _refuse_for_pages(runs: list[Path], **options: object) -> None:
    from acu_core.errors import UserError

    if len(runs) > 1:
        raise UserError(f"an .html shows one run, not {len(runs)}: give one, or write another kind of file")
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UserError(
            "an .html shows the shapes of every recorded iteration, at the reader's speed, width and theme: "
            f"leave out {', '.join(given)}"
        )
