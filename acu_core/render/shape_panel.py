"""One panel: a layer's synapses, joined to the centre, with trails of where they came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from acu_core.render.colours import Colour, Theme

Floats = npt.NDArray[np.float64]

# How much of the picture's whole movement passes until a trail has faded to 1/e; what is left is the faint track.
_FADE_LENGTH = 0.2
_FAINTEST = 0.32
# Few steps, so that old trails rest: a GIF stays small, and few lines are drawn.
_FADE_STEPS = 8
_SIDE_OF_FULL_MARKS = 2.4
_DOT = 8.2
_EDGE = 1.1
_COARSE_POINTS = 70
_FINE_BANDS = 2
# Pixels by which a trail may be off: a path of many small steps takes long.
_SIMPLER = 0.5
_SPOKE = 1.6
_GHOST = 9.5
_GHOST_LINE = 1.0
# A dot's diameter for its weight norm beside the layer's mean: steep around 1, for norms differ by a few percent, and
# ever flatter towards the least and the largest dot, which every norm keeps within, and no two norms share.
_LEAST, _LARGEST = 0.6, 2.25
_EMPHASIS = 4.0
_BEND = (_LARGEST - 1) / (1 - _LEAST)
_CIRCLE = Path.unit_circle()


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


class ShapePanel(Artist):
    """A layer in axes of its own, `side` inches wide, `reach` input pixels each way: what moves, as one artist.

    Takes positions (M, G, K, 2) and weight norms (M, G, K) at every moment of the schedule, and the colours of the G
    groups. Between moments where `unknown` (M - 1,) says so, trails are broken lines: nobody recorded that way.
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
        super().__init__()
        moments, groups, synapses = positions.shape[:3]
        self._axes, self._moment, self.unknown = axes, 0, unknown
        self._xy = positions[..., ::-1].reshape(moments, groups * synapses, 2)
        self._scale = mark_scale(side)
        self._groups = [slice(group * synapses, (group + 1) * synapses) for group in range(groups)]
        self._diameters = dot_diameters(relative_norms(norms), side).reshape(moments, groups * synapses)
        # Where each synapse is at every moment, with room for the gap between two synapses' lines.
        self._tracks = np.full((groups * synapses, moments + 1, 2), np.nan)
        self._tracks[:, :moments] = np.swapaxes(self._xy, 0, 1)
        # Where a trail is old it is drawn through fewer points: few would see them, and they take most of the time.
        self._step = max(1, round(moments / _COARSE_POINTS))
        coarse = self._tracks[:, : moments : self._step]
        self._coarse = np.concatenate([coarse, np.full((groups * synapses, 1, 2), np.nan)], axis=1)
        self._bands = _bands(moments)
        strengths = np.array([strength for _, strength in self._bands])
        self._shades = [[(*shade, 1.0) for shade in theme.fade(tint, strengths)] for tint in tints]
        self._widths = (1.5 + 2.2 * strengths) * self._scale
        several = groups > 1
        self._spokes = [
            (*theme.fade(tint, np.full(1, 0.75))[0], 1.0) if several else (*theme.spoke, 1.0) for tint in tints
        ]
        # A centre that never moves is not learned, and does not look it.
        fixed = np.all(positions[[0, -1]] == 0, axis=(0, 3)).ravel()
        self._faces = [
            (*(theme.ink if fixed[number] else tints[number // synapses]), 1.0) for number in range(groups * synapses)
        ]
        self._edge = (*theme.panel, 1.0)

        axes.set(xlim=(-reach, reach), ylim=(reach, -reach), facecolor=theme.panel)
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        _draw_cells(axes, reach, positions[0], theme)
        _draw_ghost(axes, positions[0], side, theme)
        if hidden is not None and hidden.shape[1] == synapses:
            _draw_hidden(axes, hidden, self._scale, theme)
        self.set_zorder(5)
        axes.add_artist(self)

    def show(self, moment: int) -> None:
        """Sets the panel to one moment of the schedule."""
        self._moment = moment

    def draw(self, renderer: Any) -> None:
        """Straight through the renderer: an artist a line would take ten times as long, and looks the same."""
        if not self.get_visible():
            return
        # Between data and the renderer's pixels lie a scale and a shift each way.
        affine = Affine2D(self._axes.transData.get_affine().get_matrix())
        gc = renderer.new_gc()
        gc.set_clip_rectangle(self._axes.bbox)
        gc.set_antialiased(True)
        # Round joins and caps would double the time of the trails, and differ by less than a pixel.
        gc.set_joinstyle("bevel")
        self._draw_trails(renderer, gc, affine)
        self._draw_spokes(renderer, gc, affine)
        self._draw_dots(renderer, gc, affine.get_matrix())
        gc.restore()

    def _draw_trails(self, renderer: Any, gc: Any, affine: Affine2D) -> None:
        for band, ((oldest, newest), _) in enumerate(self._bands):
            step = 1 if band >= len(self._bands) - _FINE_BANDS else self._step
            tracks = self._tracks if step == 1 else self._coarse
            # Bands begin and end at the same moments, multiples of the coarse step, or there would be gaps.
            start, stop = (max(0, self._moment - age) // self._step * self._step // step for age in (oldest, newest))
            if newest == 0:
                stop = self._moment // step
            if stop <= start:
                continue
            gc.set_linewidth(self._widths[band])
            unknown = np.logical_or.reduceat(self.unknown, np.arange(start, stop) * step)
            for group, shades in zip(self._groups, self._shades, strict=True):
                lines = tracks[group, start : stop + 2].copy()
                lines[:, -1] = np.nan
                gc.set_foreground(shades[band], isRGBA=True)
                for dashed in np.unique(unknown):
                    gc.set_capstyle("butt" if dashed else "projecting")
                    gc.set_dashes(0, [3.6 * self._scale, 3.0 * self._scale] if dashed else None)
                    path = _path(lines, unknown == dashed)
                    path.should_simplify, path.simplify_threshold = True, _SIMPLER
                    renderer.draw_path(gc, path, affine)
        gc.set_dashes(0, None)

    def _draw_spokes(self, renderer: Any, gc: Any, affine: Affine2D) -> None:
        now = self._xy[self._moment]
        lines = np.zeros((len(now), 3, 2))
        lines[:, 1] = now
        lines[:, 2] = np.nan
        gc.set_linewidth(_SPOKE * self._scale)
        for group, colour in zip(self._groups, self._spokes, strict=True):
            gc.set_foreground(colour, isRGBA=True)
            renderer.draw_path(gc, Path(lines[group].reshape(-1, 2)), affine)

    def _draw_dots(self, renderer: Any, gc: Any, matrix: Floats) -> None:
        places = self._xy[self._moment] @ matrix[:2, :2].T + matrix[:2, 2]
        radii = renderer.points_to_pixels(1.0) * self._diameters[self._moment] / 2
        gc.set_linewidth(_EDGE * self._scale)
        gc.set_foreground(self._edge, isRGBA=True)
        for (x, y), radius, face in zip(places, radii, self._faces, strict=True):
            renderer.draw_path(gc, _CIRCLE, Affine2D.from_values(radius, 0, 0, radius, x, y), face)


def _path(lines: Floats, drawn: npt.NDArray[np.bool_]) -> Path:
    """Lines (S, N + 2, 2) that end with a gap, of whose N steps those are drawn where `drawn` (N,)."""
    if drawn.all():
        return Path(lines.reshape(-1, 2))
    codes = np.full(lines.shape[:2], Path.LINETO, Path.code_type)
    codes[:, 1:-1][:, ~drawn] = Path.MOVETO
    codes[:, 0] = Path.MOVETO
    # Without the gap, which codes make themselves.
    return Path(lines[:, :-1].reshape(-1, 2), codes[:, :-1].ravel())


def _bands(moments: int) -> list[tuple[tuple[int, int], float]]:
    """The trail cut by age into bands ((oldest, newest) age in moments, strength), the faintest first."""
    ages = np.arange(moments)
    levels = np.round(np.exp(-ages / max(1, moments - 1) / _FADE_LENGTH) * _FADE_STEPS).astype(int)
    bands = []
    for level in np.unique(levels):
        inside = np.flatnonzero(levels == level)
        strength = _FAINTEST + (1 - _FAINTEST) * level / _FADE_STEPS
        bands.append(((int(inside[-1]) + 1, int(inside[0])), 0.9 * float(strength)))
    return bands


def _draw_cells(axes: Axes, reach: float, first: Floats, theme: Theme) -> None:
    for y, x in {(float(y), float(x)) for y, x in np.round(first).reshape(-1, 2)}:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=theme.first_cells, linewidth=0, zorder=0))
    for line in np.arange(0.5, reach):
        for place in (-line, line):
            axes.axhline(place, color=theme.grid, linewidth=0.8, zorder=1)
            axes.axvline(place, color=theme.grid, linewidth=0.8, zorder=1)


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
