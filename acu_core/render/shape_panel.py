"""One panel: a layer's synapses, joined to the centre, with trails of where they came from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from acu_core.render.colours import Theme

Floats = npt.NDArray[np.float64]

# How much of the picture's whole movement passes until a trail has faded to 1/e; what is left is the faint track.
_FADE_LENGTH = 0.2
_FAINTEST = 0.24
# Few steps, so that old trails rest: a GIF stays small, and few lines are drawn.
_FADE_STEPS = 8
_SIDE_OF_FULL_MARKS = 2.4


class ShapePanel:
    """A layer in axes of its own, `side` inches wide, `reach` input pixels each way.

    Takes positions (M, G, K, 2) at every moment of the schedule.
    """

    def __init__(
        self, axes: Axes, positions: Floats, hidden: Floats | None, reach: float, side: float, theme: Theme
    ) -> None:
        moments, groups, synapses = positions.shape[:3]
        self._xy = positions[..., ::-1].reshape(moments, groups * synapses, 2)
        # Sizes in points that shrink with the panel, less than proportionally: small panels need bold marks.
        scale = (side / _SIDE_OF_FULL_MARKS) ** 0.6
        axes.set(xlim=(-reach, reach), ylim=(reach, -reach), facecolor=theme.panel)
        for spine in axes.spines.values():
            spine.set(color=theme.border, linewidth=0.8)
        _draw_cells(axes, reach, positions[0], theme)
        if hidden is not None and hidden.shape[1] == synapses:
            _draw_hidden(axes, hidden, scale, theme)

        tints = [theme.group(group) for group in range(groups)]
        self._bands = _bands(moments)
        strengths = np.array([strength for _, strength in self._bands])
        fading = [theme.fade(tint, strengths) for tint in tints]
        # In the order of the lines that `show` makes: by band, then group, then synapse.
        shades = [tuple(fading[g][b]) for b in range(len(self._bands)) for g in range(groups) for _ in range(synapses)]
        widths = np.repeat((1.1 + 1.8 * strengths) * scale, groups * synapses)
        self._trails = LineCollection([], colors=shades, linewidths=widths.tolist(), capstyle="round", zorder=3)
        spokes = [tuple(theme.fade(tints[g], np.full(1, 0.75))[0]) for g in range(groups) for _ in range(synapses)]
        self._spokes = LineCollection(
            [], colors=spokes if groups > 1 else [theme.spoke], linewidths=1.3 * scale, zorder=4
        )
        # A centre that never moves is not learned, and does not look it.
        fixed = np.all(positions[[0, -1]] == 0, axis=(0, 3))
        faces = [theme.ink if fixed[g, k] else tints[g] for g in range(groups) for k in range(synapses)]
        self._dots = axes.scatter(
            self._xy[0, :, 0],
            self._xy[0, :, 1],
            s=(7.4 * scale) ** 2,
            c=faces,
            edgecolors=[theme.panel],
            linewidths=0.9 * scale,
            zorder=5,
        )
        for lines in (self._trails, self._spokes):
            axes.add_collection(lines, autolim=False)
        self.moving: list[Artist] = [self._trails, self._spokes, self._dots]

    def show(self, moment: int) -> None:
        """Sets the panel to one moment of the schedule."""
        now = self._xy[moment]
        self._dots.set_offsets(now)
        self._spokes.set_segments(list(np.stack([np.zeros_like(now), now], axis=1)))
        lines: list[Floats] = []
        for (oldest, newest), _ in self._bands:
            part = self._xy[max(0, moment - oldest) : max(0, moment - newest) + 1]
            # (synapses, points, 2); one point alone is a line of no length, which draws nothing.
            lines.extend(np.swapaxes(part, 0, 1) if len(part) > 1 else np.repeat(part[0][:, None] * np.nan, 2, axis=1))
        self._trails.set_segments(lines)


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
