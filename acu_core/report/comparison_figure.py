"""The picture of a comparison: test errors over iterations, the mean of each group in the band of its seeds."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from acu_core.durable import write_durably
from acu_core.errors import UserError
from acu_core.render.animation_file import STILLS
from acu_core.render.colours import LIGHT, Theme
from acu_core.render.recording import Warn, python_warning
from acu_core.render.still_file import encode_still
from acu_core.render.training_curve import TrainingCurve
from acu_core.report.comparison import Comparison, Group
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory

_SIZE = 7.2, 4.4
_DOTS_PER_INCH = 160
_TEXT_SIZE = 9.0
_LEGEND_SIZE = 8.0
_LEGEND_LETTERS = 100
_LEGEND_LINE = 0.165
"""The height of a line of the legend, in inches."""
_LINES_WITHIN = 3
"""As many lines of the legend leave the axes their shape; the picture grows with every further one."""
_MOST_GROUPS = 24
"""More lines are not told apart: the colours and styles repeat after some more."""
# Errors that span more than this are told apart only on a logarithmic scale.
_LOGARITHMIC_FROM = 4.0
_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0)
_LINE_STYLES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))


@dataclass(frozen=True)
class Band:
    """Test errors in percent of n seeds at the iterations (E,) at which all of them were evaluated."""

    iterations: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    lowest: npt.NDArray[np.float64]
    highest: npt.NDArray[np.float64]
    n: int

    @classmethod
    def of(cls, group: Group, warn: Warn) -> Band | None:
        """That of a group; None where its runs have no iteration in common. `warn` is told which run cannot be read."""
        curves = []
        for compared in group.runs:
            run = RunDirectory(compared.path)
            try:
                metrics = read_metrics(run.metrics, imported=run.imported_iterations)
            except UserError as error:
                warn(f"{error}; not in the picture")
                continue
            curve = TrainingCurve.of(metrics)
            curves.append(dict(zip(curve.iterations.tolist(), curve.errors.tolist(), strict=True)))
        common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
        if not common:
            return None
        errors = np.array([[curve[iteration] for iteration in common] for curve in curves])
        return cls(np.array(common), errors.mean(axis=0), errors.min(axis=0), errors.max(axis=0), len(curves))


def check_output(output: str | os.PathLike[str]) -> None:
    """Raises UserError, before any work is done, for a name that no picture can have."""
    path = Path(output)
    if path.suffix.lower() not in STILLS:
        raise UserError(f"{path} must end with one of {', '.join(STILLS)}: the end is the format")
    if path.is_dir():
        raise UserError(f"{path} is a directory: give a file's name")


def draw_errors(
    comparison: Comparison, output: str | os.PathLike[str], *, theme: Theme = LIGHT, warn: Warn = python_warning
) -> Path:
    """Draws the test errors of all groups into `output`, a .png, .svg or .pdf.

    The band goes from the lowest to the highest seed. Raises UserError when it cannot be written, and where no group
    has an iteration at which all its runs were evaluated; the file at `output` is then as it was before.
    """
    check_output(output)
    path = Path(output)
    bands = [(group, Band.of(group, warn)) for group in comparison.groups]
    drawn = [(number, group, band) for number, (group, band) in enumerate(bands) if band is not None]
    if not drawn:
        raise UserError("no group has an iteration at which all its runs were evaluated, so there is nothing to draw")
    shown, more = drawn[:_MOST_GROUPS], len(drawn) - _MOST_GROUPS
    labels = [textwrap.fill(_label(group, band), _LEGEND_LETTERS) for _, group, band in shown]
    if more > 0:
        labels.append(f"and {more} more, which are not drawn")
        warn(f"the picture shows the first {_MOST_GROUPS} groups, and not the {more} after them")
    lines = sum(label.count("\n") + 1 for label in labels)
    width, height = _SIZE[0], _SIZE[1] + _LEGEND_LINE * max(0, lines - _LINES_WITHIN)
    figure = Figure((width, height), _DOTS_PER_INCH, facecolor=theme.paper, layout="constrained")
    axes = figure.add_subplot()
    handles = [_draw(axes, band, number, theme) for number, _, band in shown]
    if more > 0:
        handles += axes.plot([], [], linestyle="")
    _finish(axes, [band for _, _, band in shown], theme)
    legend = figure.legend(
        handles, labels, loc="outside upper left", fontsize=_LEGEND_SIZE, frameon=False, labelcolor=theme.ink
    )
    # A dollar would begin a formula.
    for text in legend.get_texts():
        text.set_parse_math(False)
    content = encode_still(figure, path.suffix.lower())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_durably(path, lambda file: file.write(content))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _label(group: Group, band: Band) -> str:
    return f"{group.label}, {f'{band.n} seeds' if band.n > 1 else '1 seed'}"


def _draw(axes: Axes, band: Band, number: int, theme: Theme) -> Line2D:
    colour, style = theme.group(number), _LINE_STYLES[number // len(theme.groups) % len(_LINE_STYLES)]
    if band.n > 1:
        axes.fill_between(band.iterations, band.lowest, band.highest, color=colour, alpha=0.18, linewidth=0)
    (line,) = axes.plot(
        band.iterations,
        band.mean,
        color=colour,
        linestyle=style,
        linewidth=1.8,
        marker="o" if len(band.iterations) == 1 else None,
        markersize=5,
    )
    return line


def _finish(axes: Axes, bands: list[Band], theme: Theme) -> None:
    axes.set_facecolor(theme.panel)
    for spine in axes.spines.values():
        spine.set_color(theme.border)
    axes.tick_params(colors=theme.muted, labelsize=_TEXT_SIZE)
    axes.set_xlabel("iteration", color=theme.muted, fontsize=_TEXT_SIZE)
    axes.set_ylabel("test error, mean and range of the seeds", color=theme.muted, fontsize=_TEXT_SIZE)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    least = min(float(band.lowest.min()) for band in bands)
    most = max(float(band.highest.max()) for band in bands)
    if least > 0 and most / least > _LOGARITHMIC_FROM:
        axes.set_yscale("log")
        axes.set_yticks([tick for tick in _TICKS if least / 1.3 <= tick <= most * 1.3])
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
