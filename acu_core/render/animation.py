"""The snapshots of a run, or of several beside each other, as an animation, or as a still of the last shapes."""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acu_core.errors import UserError
from acu_core.render.colours import LIGHT, Theme
from acu_core.render.frame_schedule import Pace, choose_frame_count, plan_frames
from acu_core.render.layer_names import stages
from acu_core.render.layout import narrowest_width, plan_layout
from acu_core.render.moving_figure import letters_lacking
from acu_core.render.picture_file import LARGEST_BYTES, Progress, RenderReport, check_output, write_picture
from acu_core.render.recording import Recording, Warn, load_recording, python_warning
from acu_core.render.shape_figure import ShapeFigure, all_layers, visible_reach
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_selection import check_not_source

Source = RunDirectory | str | os.PathLike[str]

MOST_RUNS = 4
# Layers that an error names of a run.
_NAMED = 3
_TRAIL_POINTS = 150
# Seen: bytes a frame for each synapse and each pixel of its panel's side.
_BYTES_PER_LINE_PIXEL = {".gif": 1.0, ".webp": 2.0, ".mp4": 0.4, ".webm": 0.4}


def default_output(source: str | os.PathLike[str]) -> Path:
    """Where the animation of a run goes when nobody says: figures/shapes.gif in it, or beside a lone positions.bin."""
    path = Path(source)
    return path.with_suffix(".gif") if path.is_file() else RunDirectory.open(path).figures / "shapes.gif"


def render_animation(
    source: Source | Sequence[Source],
    output: str | os.PathLike[str],
    *,
    frames: int | None = None,
    fps: float | None = None,
    first: int | None = None,
    last: int | None = None,
    iteration: int | None = None,
    layers: Sequence[str] | None = None,
    width: int | None = None,
    theme: Theme = LIGHT,
    pace: Pace = Pace.MOVEMENT,
    title: str | None = None,
    progress: Progress | None = None,
    warn: Warn = python_warning,
) -> RenderReport:
    """Draws runs, or files of positions, into `output`, whose suffix is the format.

    Args:
        source: a run or a snapshot file, or up to four that are drawn beside each other, over one time line and on one
            scale; a run may still be going on.
        output: .gif, .webp, .mp4, .webm, or .png with several `frames`; .svg, .pdf and any other .png are stills of the
            last shapes with their trails.
        frames: how many; None takes as many as the motion needs and a file below 2 MB allows.
        fps: frames a second, 20 by default; GIF rounds a frame's time to 10 ms.
        first: iteration to begin with.
        last: iteration to end with, included.
        iteration: which a still shows, with the trails up to it; it must be recorded. None shows the last.
        layers: names, or patterns with `*`; None takes all.
        width: in pixels; 800 by default, less for one or two columns of panels. At least 460, beside each other two
            runs 640 and more runs 800, so that all text is legible.
        theme: the colours.
        pace: whether movement or iterations pass evenly.
        title: stands over the picture; by default the name of the run.
        progress: called with (frames drawn, frames in all).
        warn: told what of a run is damaged and was left out; by default a warning of Python's.

    Raises:
        UserError: for options that cannot be met. The file at `output` is then as it was before.
    """
    began = time.perf_counter()
    single = isinstance(source, (RunDirectory, str, os.PathLike))
    sources: Sequence[Source] = [source] if single else source  # type: ignore[list-item,assignment]
    narrowest = round(100 * narrowest_width(len(sources)))
    check_output(output, frames=frames, fps=fps, width=width, narrowest=narrowest, iteration=iteration)
    check_not_source(output, *sources)
    recordings = load_recordings(sources, first=first, last=last, layers=layers, warn=warn)
    names = [recording.title for recording in recordings] if title is None or not single else []
    lacking = letters_lacking([title or "", *names, *all_layers(recordings)])
    if lacking:
        warn(lacking)
    report = write_picture(
        lambda drawn: make_picture(
            recordings, frames=drawn, iteration=iteration, width=width, theme=theme, pace=pace, title=title
        ),
        output,
        theme=theme,
        frames=frames,
        wanted=frames or _automatic_frames(recordings, width, Path(output).suffix.lower()),
        fps=fps,
        progress=progress,
    )
    return replace(report, seconds=time.perf_counter() - began)


def make_picture(
    recordings: Sequence[Recording],
    *,
    frames: int,
    iteration: int | None = None,
    width: int | None = None,
    theme: Theme = LIGHT,
    pace: Pace = Pace.MOVEMENT,
    title: str | None = None,
) -> ShapeFigure:
    """The picture that `render_animation` writes: of so many frames, or of one, at a recorded iteration."""
    schedule = plan_frames(recordings, frames=frames, trail_points=_TRAIL_POINTS, pace=pace)
    if iteration is not None:
        for recording in recordings:
            recording.require(iteration)
        schedule = schedule.only(iteration)
    return ShapeFigure(recordings, schedule, theme=theme, width=width, title=title)


def load_recordings(
    sources: Sequence[Source],
    *,
    first: int | None = None,
    last: int | None = None,
    layers: Sequence[str] | None = None,
    warn: Warn = python_warning,
) -> list[Recording]:
    """What is drawn beside each other: as `load_recording`, but a pattern need match a layer of one run only."""
    if not 1 <= len(sources) <= MOST_RUNS:
        raise UserError(f"1 to {MOST_RUNS} runs are drawn beside each other, got {len(sources)}")
    if len(sources) == 1:
        return [load_recording(sources[0], first=first, last=last, layers=layers, warn=warn)]
    whole = _told_apart(sources, [load_recording(source, first=first, last=last, warn=warn) for source in sources])
    if len(set.union(*(set(r.positions) for r in whole))) == sum(len(r.positions) for r in whole):
        known = ", ".join(f"{r.title} has {', '.join(list(r.positions)[:_NAMED])}" for r in whole)
        raise UserError(f"the runs have no layer in common: {known}")
    if layers is None:
        return whole
    names = all_layers(whole)
    for pattern in layers:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"no layer is called {pattern!r}: the runs have {', '.join(names)}")
    if not layers:
        raise UserError(f"no layer was chosen: the runs have {', '.join(names)}")
    chosen = [_only(recording, layers) for recording in whole]
    for recording in chosen:
        if not recording.positions:
            raise UserError(f"{recording.title} has none of the layers {', '.join(layers)}")
    return chosen


def _told_apart(sources: Sequence[Source], recordings: Sequence[Recording]) -> list[Recording]:
    """The recordings, where some have one title each with as much of its path as tells it from the others."""
    paths = [Path(source.path if isinstance(source, RunDirectory) else source).resolve() for source in sources]
    parts = [(path if path.is_dir() else path.with_suffix("")).parts for path in paths]
    titles = []
    for recording, own in zip(recordings, parts, strict=True):
        alike = {parts[i] for i, other in enumerate(recordings) if other.title == recording.title}
        depth = 1
        while depth < len(own) and len({path[-depth:] for path in alike}) < len(alike):
            depth += 1
        titles.append(recording.title if len(alike) == 1 else "/".join(own[-depth:]))
    return [replace(recording, title=title) for recording, title in zip(recordings, titles, strict=True)]


def _only(recording: Recording, patterns: Sequence[str]) -> Recording:
    names = [name for name in recording.positions if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    return replace(
        recording,
        positions={name: recording.positions[name] for name in names},
        weight_norms={name: recording.weight_norms[name] for name in names},
    )


def _automatic_frames(recordings: Sequence[Recording], width: int | None, suffix: str) -> int:
    if suffix not in _BYTES_PER_LINE_PIXEL:
        return 1
    across = None if width is None else width / 100
    layout = plan_layout(
        [len(stage) for stage in stages(all_layers(recordings))], abreast=len(recordings), across=across
    )
    side = layout.panel * (100.0 if width is None else width / layout.width)
    wanted = choose_frame_count(recordings, side / (2 * visible_reach(recordings, layout.panel)))
    # Only a first guess, which saves drawing twice.
    synapses = sum(p.shape[1] * p.shape[2] for recording in recordings for p in recording.positions.values())
    return min(wanted, int(LARGEST_BYTES / (_BYTES_PER_LINE_PIXEL[suffix] * synapses * side)))
