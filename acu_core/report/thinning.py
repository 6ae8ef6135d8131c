"""Series of numbers with the moments left out that a straight line between the others gives back.

A knot is a moment that is kept, with its value in whole steps of a grid. Each series has knots of its own: when one
synapse runs and another rests, only the first one costs room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Stretches of this many moments are thinned beside each other, which costs two knots a stretch and saves most of the
# time: NumPy works on all of them at once.
_STRETCH = 2048


@dataclass(frozen=True)
class Knots:
    """One series: moments (N,), ascending from 0 to the last one, and values (N,) in whole steps."""

    moments: Integers
    values: Integers

    def at(self, moments: Integers, step: float) -> Floats:
        """The values (M,) at any moments (M,)."""
        found: Floats = np.interp(moments, self.moments, self.values * step)
        return found


def thin(series: Floats, tolerance: float, step: float) -> list[Knots]:
    """Knots of each of the series (S, T), finite, such that the line through them is nowhere `tolerance` off.

    Greedy: from a knot, every moment narrows the slopes that the line may have; the next knot is the last moment at
    which a whole step lay within them. `step` is at most 2 `tolerance`, so that each value lies near a whole step.
    """
    count, length = series.shape
    starts = np.arange(0, length, _STRETCH)
    ends = np.append(starts[1:] - 1, length - 1)
    stretches = len(starts)
    # A lane is one stretch of one series; lanes are numbered by series, then stretch.
    flat = np.ascontiguousarray(series).reshape(-1)
    offset = np.repeat(np.arange(count) * length, stretches)
    last = offset + np.tile(ends, count)
    anchor = offset + np.tile(starts, count)
    value = np.round(flat[anchor] / step).astype(np.int64)
    lanes = np.arange(count * stretches)
    kept_places, kept_values = [anchor.copy()], [value.copy()]
    place = anchor + 1
    low, high = np.full(len(lanes), -np.inf), np.full(len(lanes), np.inf)
    best, best_value = anchor.copy(), value.copy()
    running = place <= last
    while running.any():
        if not running.all():
            keep = np.flatnonzero(running)
            lanes, last, anchor, value, place = lanes[keep], last[keep], anchor[keep], value[keep], place[keep]
            low, high, best, best_value = low[keep], high[keep], best[keep], best_value[keep]
        distance = place - anchor
        away = flat[place] - value * step
        np.maximum(low, (away - tolerance) / distance, out=low)
        np.minimum(high, (away + tolerance) / distance, out=high)
        least, most = low * distance / step, high * distance / step
        middle = np.round((least + most) / 2)
        good = (middle >= least) & (middle <= most)
        best = np.where(good, place, best)
        best_value = np.where(good, value + np.nan_to_num(middle).astype(np.int64), best_value)
        closed = (low > high) | (place == last)
        # A whole step lies within the tolerance one moment after any knot, so `best` is beyond `anchor` here.
        if closed.any():
            kept_places.append(best[closed])
            kept_values.append(best_value[closed])
            anchor = np.where(closed, best, anchor)
            value = np.where(closed, best_value, value)
            place = np.where(closed, best, place)
            low[closed], high[closed] = -np.inf, np.inf
        place = place + 1
        running = place <= last
    return _gather(np.concatenate(kept_places), np.concatenate(kept_values), count, length)


def _gather(places: Integers, values: Integers, count: int, length: int) -> list[Knots]:
    order = np.argsort(places, kind="stable")
    places, values = places[order], values[order]
    bounds = np.searchsorted(places, np.arange(count + 1) * length)
    found = []
    for number in range(count):
        part = slice(bounds[number], bounds[number + 1])
        found.append(_without_straight_ones(places[part] - number * length, values[part]))
    return found


def _without_straight_ones(moments: Integers, values: Integers) -> Knots:
    """Leaves out knots on the straight line between their neighbours, as the ends of stretches often are."""
    if len(moments) < 3:
        return Knots(moments, values)
    steps, rises = np.diff(moments), np.diff(values)
    bends = rises[1:] * steps[:-1] != rises[:-1] * steps[1:]
    keep = np.concatenate([[True], bends, [True]])
    return Knots(moments[keep], values[keep])
