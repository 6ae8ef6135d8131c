"""The shapes of some layers as pictures of characters, each over its pixel grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from acu_cli.watch.dots import ACROSS, DOWN, Cells, characters, set_dots
from acu_cli.watch.page import Style
from acu_core.runs.snapshot_header import LayerEntry

_MARGIN = 0.75
"""Pixels from the outermost synapse to a panel's edge, at the start."""
_FURTHEST = 3.0
"""Pixels by which a synapse may leave its start before it is drawn at the edge instead."""
_STEP = 0.25
"""A panel shows more by steps of so many pixels, so that the scale rests."""
# In dots, around the corner nearest to the position.
_DOT = [(0, 0)]


def _disc(radius: int) -> list[tuple[int, int]]:
    """Dots that are nearer than `radius` to the corner between them, not quite a square for radii above 1."""
    places = range(-radius, radius)
    return [
        (dy, dx)
        for dy in places
        for dx in places
        if (dy + 0.5) ** 2 + (dx + 0.5) ** 2 <= radius**2 - 0.5 + (radius == 1)
    ]


_DISCS = [_disc(radius) for radius in (1, 2, 3)]
_RINGS = [
    _disc(1),
    *([place for place in larger if place not in smaller] for smaller, larger in pairwise(_DISCS)),
]
_SCALES = (6.5, 20.0)
"""Dots a pixel from which on a synapse is a larger disc."""
_BORDER_DOTS = 4
_UNSEEN_DOTS = 0.25
"""By less than so much nothing is drawn anew: a slow training's shapes rest for many snapshots."""
ASCII_MARKS = {Style.GRID: ".", Style.START: ":", Style.TRAIL: "'", Style.HIDDEN: "o", Style.SYNAPSE: "+"}


def layer_parts(layers: Sequence[LayerEntry]) -> list[slice]:
    """Which of all synapses (P,) are a layer's."""
    ends = np.cumsum([layer.groups * layer.synapses for layer in layers]).tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def movement(positions: npt.NDArray[np.float32], start: npt.NDArray[np.float32], parts: Sequence[slice]) -> list[float]:
    """Pixels by which each layer's synapses have left their start, root mean square; positions and start (P, 2)."""
    squares = np.square(positions - start).sum(axis=1)
    # One call for all layers, none of which is without synapses: calls of NumPy are what a frame costs.
    sums = np.add.reduceat(squares, [part.start for part in parts])
    found: list[float] = np.sqrt(sums / [part.stop - part.start for part in parts]).tolist()
    return found


class ShapePanels:
    """Pictures of `rows` x `columns` characters of the layers `shown`, numbers into `layers`.

    What does not change from one snapshot to the next, the grid and the trails, is drawn once.
    """

    def __init__(
        self,
        layers: Sequence[LayerEntry],
        shown: Sequence[int],
        hidden: npt.NDArray[np.float64] | None,
        *,
        rows: int,
        columns: int,
        ascii_only: bool,
    ) -> None:
        self.shown = list(shown)
        self.rows, self.columns = rows, columns
        self._ascii = ascii_only
        parts = [layer_parts(layers)[number] for number in shown]
        self._synapses = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        self._panel = np.repeat(np.arange(len(parts)), [part.stop - part.start for part in parts])
        self._hidden = [_hidden_points(layers[number], hidden) for number in shown]
        self._start: npt.NDArray[np.float64] = np.empty((0, 2))
        self._reach: npt.NDArray[np.float64] = np.zeros(len(parts))
        self._version = -1
        self._trailed = 0
        self._resting: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]] | None = None
        self._drawn: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]] | None = None
        self._now: npt.NDArray[np.float32] = np.empty((0, 2), np.float32)
        self._trail: Cells = np.zeros((len(parts), rows, columns), np.uint8)

    def draw(
        self, history: npt.NDArray[np.float32], version: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
        """Characters and styles (L, R, C) of the last of the snapshots (T, P, 2), with trails of those before it."""
        if version != self._version:
            self._version, self._resting = version, None
        elif self._drawn is not None and self._is_near(history[-1]):
            return self._drawn
        if self._resting is None:
            self._start = history[0, self._synapses].astype(np.float64)
        new = history[0 if self._resting is None else min(self._trailed, len(history) - 1) :, self._synapses]
        if self._widen(new) or self._resting is None:
            self._resting = self._draw_resting()
            self._trail[:] = 0
            self._trailed = 0
        self._add_trail(history[max(0, self._trailed - 1) : -1, self._synapses])
        self._trailed = len(history)
        drawn, styles = self._resting[0].copy(), self._resting[1].copy()
        self._lay(drawn, styles, self._trail, Style.TRAIL)
        now = np.zeros_like(self._trail)
        self._add_marks(now, self._panel, history[-1, self._synapses], _DISCS[self._size])
        self._lay(drawn, styles, now, Style.SYNAPSE)
        self._now, self._drawn = history[-1].copy(), (drawn, styles)
        return self._drawn

    def _is_near(self, positions: npt.NDArray[np.float32]) -> bool:
        """Whether the positions (P, 2) would hardly be drawn elsewhere than those drawn last."""
        dots = float(np.abs(positions - self._now).max(initial=0.0)) * float(self._scale.max())
        return dots < _UNSEEN_DOTS

    @property
    def _scale(self) -> npt.NDArray[np.float64]:
        """Dots a pixel, by panel."""
        return min(self.rows * DOWN, self.columns * ACROSS) / (2.0 * self._reach)

    @property
    def _size(self) -> int:
        return sum(bool(self._scale.min() >= scale) for scale in _SCALES)

    def _widen(self, new: npt.NDArray[np.float32]) -> bool:
        """Makes room for new positions (T, S, 2); whether some was missing. Layers that began alike stay alike."""
        if not len(new) or np.abs(new).max() + _STEP <= self._reach.min():
            return False
        reach, start = self._reach, self._start
        far = np.abs(np.where(np.isfinite(new), new, 0.0)).max(axis=(0, 2), initial=0.0)
        first = np.abs(np.where(np.isfinite(start), start, 0.0)).max(axis=1)
        starts = np.zeros(len(reach))
        np.maximum.at(starts, self._panel, first)
        needed = np.zeros(len(reach))
        np.maximum.at(needed, self._panel, far + _STEP)
        needed = np.maximum(np.minimum(needed, starts + _FURTHEST), starts + _MARGIN)
        for number, panel_points in enumerate(self._hidden):
            if len(panel_points):
                needed[number] = max(needed[number], float(np.abs(panel_points).max()) + _STEP)
        for kind in np.unique(starts.round()):
            alike = starts.round() == kind
            needed[alike] = needed[alike].max()
        grown = needed > reach
        if not grown.any():
            return False
        self._reach = np.where(grown, np.ceil(needed / _STEP) * _STEP, reach)
        return True

    def _draw_resting(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
        drawn = np.full(self._trail.shape, ord(" "), np.uint32)
        styles = np.zeros(self._trail.shape, np.uint8)
        cells = np.zeros_like(self._trail)
        for number, reach in enumerate(self._reach.tolist()):
            lines = _borders(reach, max(1, int(self._scale[number] / _BORDER_DOTS)))
            self._add_marks(cells, np.full(len(lines), number), lines, _DOT)
        self._lay(drawn, styles, cells, Style.GRID)
        cells = np.zeros_like(self._trail)
        self._add_marks(cells, self._panel, self._start, _RINGS[self._size] if self._size else _DOT)
        self._lay(drawn, styles, cells, Style.START)
        cells = np.zeros_like(self._trail)
        for number, points in enumerate(self._hidden):
            self._add_marks(cells, np.full(len(points), number), points, _RINGS[self._size])
        self._lay(drawn, styles, cells, Style.HIDDEN)
        return drawn, styles

    def _add_trail(self, points: npt.NDArray[np.float32]) -> None:
        """Dots at positions (T, S, 2)."""
        if len(points) and not self._ascii:
            panels = np.broadcast_to(self._panel, points.shape[:2]).reshape(-1)
            self._add_marks(self._trail, panels, points.reshape(-1, 2), _DOT)

    def _add_marks(
        self,
        cells: Cells,
        panels: npt.NDArray[np.int64],
        points: npt.NDArray[np.floating[Any]],
        mark: Sequence[tuple[int, int]],
    ) -> None:
        """A mark at every one of the points (N, 2), at the edge for those beyond it."""
        finite = np.isfinite(points).all(axis=1)
        panels, points = panels[finite], points[finite]
        if not len(points):
            return
        size = np.array([self.rows * DOWN, self.columns * ACROSS])
        reach = self._reach[panels][:, None]
        dots = size / 2.0 + np.clip(points, -reach, reach) * self._scale[panels][:, None]
        corner = np.clip(np.floor(dots + 0.5).astype(np.int64), 1, size - 1)
        if self._ascii:
            mark = _DOT
        # All dots of all marks at once: calls of NumPy are what a frame costs.
        down, across = np.array(mark, np.int64).T
        y, x = ((corner[:, axis, None] + part).reshape(-1) for axis, part in ((0, down), (1, across)))
        set_dots(cells, np.repeat(panels, len(mark)), y, x)

    def _lay(self, drawn: npt.NDArray[np.uint32], styles: npt.NDArray[np.uint8], cells: Cells, style: Style) -> None:
        """Over what is drawn: a character has one colour, so the uppermost takes all of it."""
        there = cells > 0
        drawn[there] = characters(cells, ASCII_MARKS[style] if self._ascii else None)[there]
        styles[there] = style


def _borders(reach: float, parts: int) -> npt.NDArray[np.float64]:
    """Points (N, 2) on the borders of the pixels within `reach`, `parts` for each side of a pixel."""
    outermost = np.floor(reach - 0.5) + 0.5
    lines = np.arange(-outermost, outermost + 0.25)
    along = np.arange(-outermost, outermost + 0.5 / parts, 1.0 / parts)
    y, x = (axis.reshape(-1) for axis in np.meshgrid(lines, along, indexing="ij"))
    return np.concatenate([np.stack([y, x], axis=1), np.stack([x, y], axis=1)])


def _hidden_points(layer: LayerEntry, hidden: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    # The data's shape is a layer's only where it has as many synapses.
    if hidden is None or hidden.shape[1] != layer.synapses:
        return np.empty((0, 2))
    return hidden.reshape(-1, 2)
