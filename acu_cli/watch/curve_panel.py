"""A curve over the iterations, in characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from acu_cli.watch.dots import ACROSS, DOWN, characters, set_dots
from acu_cli.watch.page import Page, Style, first_that_fits

GUTTER = 7
"""Columns left of a curve, for the values at its top and bottom."""
PERCENT = (0.0, 100.0)
"""Bounds of an error."""


def binned(
    iterations: npt.NDArray[np.int64], values: npt.NDArray[np.float64], end: int, bins: int
) -> npt.NDArray[np.float64]:
    """Means (bins,) of the values from iteration 0 to `end`, smoothed a little; NaN where there is none."""
    if not len(values):
        return np.full(bins, np.nan)
    place = np.minimum(iterations * bins // max(1, end + 1), bins - 1)
    counts = np.bincount(place, minlength=bins).astype(float)
    sums = np.bincount(place, values, minlength=bins)
    # Over three bins: a batch's loss scatters.
    counts, sums = (np.convolve(part, (1.0, 1.0, 1.0), mode="same") for part in (counts, sums))
    found: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    return found


def joined(places: Sequence[int], values: Sequence[float], end: int, bins: int) -> npt.NDArray[np.float64]:
    """Values (bins,) on straight lines between those at `places`; NaN before the first and after the last."""
    if not places:
        return np.full(bins, np.nan)
    at = np.minimum(np.asarray(places, np.float64) * bins / max(1, end + 1), bins - 1)
    found = np.interp(np.arange(bins), np.floor(at), values, left=np.nan, right=np.nan)
    return np.asarray(found, np.float64)


def put_curve(
    page: Page,
    row: int,
    column: int,
    rows: int,
    columns: int,
    values: npt.NDArray[np.float64],
    style: Style,
    *,
    digits: int,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Draws values (dots,) into rows x columns characters, the gutter included, as a line without gaps.

    Its axis stays within `bounds`, between which alone there are such values.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return
    low, high = _range(values[known], bounds, 10.0**-digits)
    height = rows * DOWN
    level = np.clip((high - values[known]) / max(high - low, 1e-12) * (height - 1), 0, height - 1)
    level = level.round().astype(np.int64)
    # Down or up to half way to its neighbours, so that steep parts hang together.
    before, after = np.r_[level[0], level[:-1]], np.r_[level[1:], level[-1]]
    top = np.minimum(level, np.minimum((level + before) // 2, (level + after) // 2))
    bottom = np.maximum(level, np.maximum((level + before) // 2, (level + after) // 2))
    reach = bottom - top + 1
    x = np.repeat(known, reach)
    y = np.repeat(top, reach) + (np.arange(len(x)) - np.repeat(np.cumsum(reach) - reach, reach))
    cells = np.zeros((1, rows, columns - GUTTER), np.uint8)
    set_dots(cells, np.zeros(len(x), np.int64), y, x)
    drawn = characters(cells, "*" if page.ascii_only else None)[0]
    page.put_cells(row, column + GUTTER, drawn, np.full(drawn.shape, style, np.uint8))
    page.put_right(row, column + GUTTER - 1, _number(high, digits), Style.MUTED)
    if rows > 1:
        page.put_right(row + rows - 1, column + GUTTER - 1, _number(low, digits), Style.MUTED)


def dots_across(columns: int) -> int:
    """How many values a curve of so many columns shows."""
    return max(1, columns - GUTTER) * ACROSS


def _number(value: float, digits: int) -> str:
    """`value` in the gutter's letters, with fewer digits behind the point where it is large."""
    plain = (f"{value:.{places}f}" for places in range(digits, -1, -1))
    return first_that_fits(GUTTER - 1, (*plain, f"{value:.1e}", f"{value:.0e}"))


def _range(values: npt.NDArray[np.float64], bounds: tuple[float, float], smallest: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    # A few wild values at the start must not press the rest flat.
    if len(values) > 20:
        usual = float(np.sort(values)[math.ceil(0.95 * (len(values) - 1))])
        high = min(high, max(usual * 1.25, low))
    if high > low:
        return low, high
    around = max(0.5 * abs(low), smallest)
    return max(low - around, bounds[0]), min(high + around, bounds[1])
