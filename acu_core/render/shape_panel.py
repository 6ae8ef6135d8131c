"""One panel: a layer's place in a picture, the pixels and the first shape in it, and how large its dots are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from acu_core.render.colours import Colour, Theme

Floats = npt.NDArray[np.float64]

_SIDE_OF_FULL_MARKS = 2.4
_DOT = 8.2
_GHOST = 9.5
_GHOST_LINE = 1.0
# A dot's diameter for its weight norm beside the layer's mean: steep around 1, for norms differ by a few percent, and
# ever flatter towards the least and the largest dot, which every norm keeps within, and no two norms share.
_LEAST, _LARGEST = 0.6, 2.25
_EMPHASIS = 4.0
_BEND = (_LARGEST - 1) / (1 - _LEAST)


def mark_scale(side: float) -> float:
    """By how much marks shrink in a panel of `side` inches; less than the side, for small panels need bold ones."""
    return float((side / _SIDE_OF_FULL_MARKS) ** 0.6)


def dot_diameters(relative_norms: npt.ArrayLike, side: float) -> Floats:
    """Diameters in points for weight norms divided by the mean of their layer."""
    # Of the inverse, which no large norm makes overflow.
    with np.errstate(divide="ignore"):
        falling = np.asarray(relative_norms, np.float64) ** -_EMPHASIS
    share = 1 / (1 + _BEND * falling)
    diameters: Floats = _DOT * mark_scale(side) * (_LEAST + (_LARGEST - _LEAST) * share)
    return diameters


def relative_norms(norms: npt.NDArray[Any]) -> Floats:
    """Weight norms (M, G, K) of a layer divided by their mean at each moment; ones where all are 0."""
    values = np.asarray(norms, np.float64)
    means = values.mean(axis=(1, 2), keepdims=True)
    relative: Floats = np.divide(values, means, out=np.ones_like(values), where=means > 0)
    return relative


def reach_of_dots(positions: npt.NDArray[Any], norms: npt.NDArray[Any], side: float, known: float) -> float:
    """Half the side in input pixels of a panel of `side` inches that holds every dot, `known` at least.

    Takes positions (T, G, K, 2) and weight norms (T, G, K).
    """
    distances = np.abs(positions).max(axis=-1)
    largest = _LARGEST * _DOT * mark_scale(side) / 72 / side
    near_edge = np.any(distances > known * (1 - largest), axis=(1, 2))
    if not near_edge.any():
        return known
    shares = dot_diameters(relative_norms(norms[near_edge]), side) / 72 / side
    return max(known, float((distances[near_edge] / (1 - shares)).max()))


def ghost_ring(side: float) -> tuple[float, float]:
    """Diameter and line of a ghost in points."""
    return _GHOST * mark_scale(side), _GHOST_LINE * max(0.75, mark_scale(side))


class ShapePanel:
    """A layer in axes of its own, `side` inches wide, `reach` input pixels each way: what rests is drawn at once.

    Takes positions (M, G, K, 2) and weight norms (M, G, K) at every moment of the schedule, and the colours of the G
    groups. Between moments where `unknown` (M - 1,) says so, trails are broken lines: nobody recorded that way.
    `MovingShapes` draws what moves.
    """

    def __init__(
        self,
        axes: Axes,
        positions: Floats,
        norms: Floats,
        hidden: Floats | None,
        *,
        reach: float,
        side: float,
        theme: Theme,
        tints: tuple[Colour, ...],
        unknown: npt.NDArray[np.bool_],
    ) -> None:
        moments, groups, synapses = positions.shape[:3]
        self.axes, self.tints, self.unknown, self.scale = axes, tints, unknown, mark_scale(side)
        self.places: Floats = positions[..., ::-1].reshape(moments, groups * synapses, 2)
        """(M, G * K, 2), x and y in input pixels."""
        self.groups = [slice(group * synapses, (group + 1) * synapses) for group in range(groups)]
        self.diameters = dot_diameters(relative_norms(norms), side).reshape(moments, groups * synapses)
        """Of the dots in points, (M, G * K)."""
        # A centre that never moves is not learned, and does not look it.
        self.fixed = np.all(positions[[0, -1]] == 0, axis=(0, 3)).ravel()
        """Which synapses stay in the centre, (G * K,)."""

        axes.set(xlim=(-reach, reach), ylim=(reach, -reach), facecolor=theme.panel)
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        _draw_cells(axes, reach, positions[0], theme)
        _draw_ghost(axes, positions[0], side, theme)
        if hidden is not None and hidden.shape[1] == synapses:
            _draw_hidden(axes, hidden, self.scale, theme)


def _draw_cells(axes: Axes, reach: float, first: Floats, theme: Theme) -> None:
    for y, x in {(float(y), float(x)) for y, x in np.round(first).reshape(-1, 2)}:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=theme.first_cells, linewidth=0, zorder=0))
    lines = [place for line in np.arange(0.5, reach) for place in (-line, line)]
    ways = [[(place, -reach), (place, reach)] for place in lines]
    ways += [[(y, x) for x, y in way] for way in ways]
    axes.add_collection(LineCollection(ways, colors=[theme.grid], linewidths=0.8, zorder=1), autolim=False)


def _draw_ghost(axes: Axes, first: Floats, side: float, theme: Theme) -> None:
    diameter, width = ghost_ring(side)
    xy = np.unique(first[..., ::-1].reshape(-1, 2), axis=0)
    axes.scatter(
        xy[:, 0],
        xy[:, 1],
        s=diameter**2,
        facecolors="none",
        edgecolors=[theme.ghost],
        linewidths=width,
        zorder=3,
    )


def _draw_hidden(axes: Axes, hidden: Floats, scale: float, theme: Theme) -> None:
    xy = hidden[..., ::-1].reshape(-1, 2)
    spokes = LineCollection(
        list(np.stack([np.zeros_like(xy), xy], axis=1)),
        colors=[theme.hidden],
        linewidths=1.0 * scale,
        linestyles="dashed",
        zorder=2,
    )
    axes.add_collection(spokes, autolim=False)
    axes.scatter(
        xy[:, 0],
        xy[:, 1],
        s=(14 * scale) ** 2,
        facecolors=[theme.panel],
        edgecolors=[theme.hidden],
        linewidths=1.8 * scale,
        zorder=2.5,
    )
