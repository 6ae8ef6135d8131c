"""What moves in the panels of shapes: synapses, joined to the centre, with trails of where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import IdentityTransform

from acu_core.render.colours import Colour, Theme
from acu_core.render.shape_panel import Floats, ShapePanel

# How much of the picture's whole movement passes until a trail has faded to 1/e; what is left is the faint track.
_FADE_LENGTH = 0.2
_FAINTEST = 0.32
# Few steps, so that old trails rest: a GIF stays small, and few lines are drawn.
_FADE_STEPS = 8
_EDGE = 1.1
_COARSE_POINTS = 70
_FINE_BANDS = 2
# Pixels by which a trail may be off: a path of many small steps takes long.
_SIMPLER = 0.5
_SPOKE = 1.6
# Colours of trails and spokes, and where nobody recorded: what is alike in all panels is drawn at once.
_Look = tuple[Colour, bool, bytes]
_AS_IS = IdentityTransform()


class MovingShapes(Artist):
    """All panels of a figure, which share their side and their moments, as one artist.

    A renderer is asked as seldom as can be: for all lines of one colour at once, in pixels, whatever panel they are in.
    """

    def __init__(self, figure: Figure, panels: Sequence[ShapePanel], theme: Theme) -> None:
        super().__init__()
        self.set_figure(figure)
        self.set_zorder(5)
        self._panels, self._moment = panels, 0
        self._scale = panels[0].scale
        moments = len(panels[0].places)
        # Where a trail is old it is drawn through fewer points: few would see them, and they take most of the time.
        self._step = max(1, round(moments / _COARSE_POINTS))
        self._bands = _bands(moments, self._step)
        strengths = np.array([strength for _, strength in self._bands])
        self._widths = (1.5 + 2.2 * strengths) * self._scale
        places: dict[_Look, list[npt.NDArray[np.intp]]] = {}
        unknown = {}
        first = 0
        for panel in panels:
            several = len(panel.groups) > 1
            for group, tint in zip(panel.groups, panel.tints, strict=True):
                look = tint, several, panel.unknown.tobytes()
                places.setdefault(look, []).append(first + np.arange(group.start, group.stop))
                unknown[look] = panel.unknown
            first += panel.places.shape[1]
        self._batches = [
            _Batch(
                np.concatenate(numbers),
                [(*shade, 1.0) for shade in theme.fade(look[0], strengths)],
                (*(theme.fade(look[0], np.full(1, 0.75))[0] if look[1] else theme.spoke), 1.0),
                unknown[look],
            )
            for look, numbers in places.items()
        ]
        faces = [
            theme.ink if panel.fixed[number] else tint
            for panel in panels
            for group, tint in zip(panel.groups, panel.tints, strict=True)
            for number in range(group.start, group.stop)
        ]
        self._radii = np.concatenate([panel.diameters for panel in panels], axis=1) / 2
        self._dots = PathCollection(
            [Path.unit_circle()],
            facecolors=faces,
            edgecolors=[theme.panel],
            linewidths=_EDGE * self._scale,
            offset_transform=_AS_IS,
        )
        self._dots.set_figure(figure)
        self._drawn_at: npt.NDArray[np.float64] | None = None
        self.old_trails = OldTrails(self, figure)

    @property
    def old_trails_state(self) -> int:
        """The same while the old trails look the same."""
        return self._moment // self._step

    def show(self, moment: int) -> None:
        """Sets the panels to one moment of the schedule."""
        self._moment = moment

    def draw(self, renderer: Any) -> None:
        """Straight through the renderer: an artist a line would take ten times as long, and looks the same."""
        if not self.get_visible():
            return
        self._find_pixels()
        gc = _line_style(renderer)
        self._draw_trails(renderer, gc, range(self._first_fine, len(self._bands)))
        self._draw_spokes(renderer, gc)
        gc.restore()
        self._draw_dots(renderer)

    def draw_old_trails(self, renderer: Any) -> None:
        """What lies below, and few frames change."""
        self._find_pixels()
        gc = _line_style(renderer)
        self._draw_trails(renderer, gc, range(self._first_fine))
        gc.restore()

    @property
    def _first_fine(self) -> int:
        return max(0, len(self._bands) - _FINE_BANDS)

    def _find_pixels(self) -> None:
        """Where everything is in the renderer's pixels: only when the figure's size or resolution has changed."""
        matrices = np.stack([panel.axes.transData.get_affine().get_matrix() for panel in self._panels])
        if self._drawn_at is not None and np.array_equal(matrices, self._drawn_at):
            return
        self._drawn_at = matrices
        self._pixels = np.concatenate(
            [
                panel.places @ matrix[:2, :2].T + matrix[:2, 2]
                for panel, matrix in zip(self._panels, matrices, strict=True)
            ],
            axis=1,
        )
        self._centres = np.concatenate(
            [
                np.tile(matrix[:2, 2], (panel.places.shape[1], 1))
                for panel, matrix in zip(self._panels, matrices, strict=True)
            ]
        )
        for batch in self._batches:
            batch.find_tracks(self._pixels, self._step)

    def _draw_trails(self, renderer: Any, gc: Any, bands: range) -> None:
        for band in bands:
            (oldest, newest), _ = self._bands[band]
            step = 1 if band >= self._first_fine else self._step
            # Bands begin and end at the same moments, multiples of the coarse step, or there would be gaps.
            start, stop = (max(0, self._moment - age) // self._step * self._step // step for age in (oldest, newest))
            if newest == 0:
                stop = self._moment // step
            if stop <= start:
                continue
            gc.set_linewidth(self._widths[band])
            for batch in self._batches:
                lines = (batch.tracks if step == 1 else batch.coarse)[:, start : stop + 2].copy()
                lines[:, -1] = np.nan
                unknown = np.logical_or.reduceat(batch.unknown, np.arange(start, stop) * step)
                gc.set_foreground(batch.shades[band], isRGBA=True)
                for dashed in (False, True):
                    drawn = unknown == dashed
                    if drawn.any():
                        gc.set_capstyle("butt" if dashed else "projecting")
                        gc.set_dashes(0, [3.6 * self._scale, 3.0 * self._scale] if dashed else None)
                        path = _path(lines, drawn)
                        path.should_simplify, path.simplify_threshold = True, _SIMPLER
                        renderer.draw_path(gc, path, _AS_IS)
        gc.set_dashes(0, None)

    def _draw_spokes(self, renderer: Any, gc: Any) -> None:
        gc.set_linewidth(_SPOKE * self._scale)
        for batch in self._batches:
            lines = np.full((len(batch.numbers), 3, 2), np.nan)
            lines[:, 0] = self._centres[batch.numbers]
            lines[:, 1] = self._pixels[self._moment, batch.numbers]
            gc.set_foreground(batch.spoke, isRGBA=True)
            renderer.draw_path(gc, Path(lines.reshape(-1, 2)), _AS_IS)

    def _draw_dots(self, renderer: Any) -> None:
        self._dots.set_offsets(self._pixels[self._moment])
        # Of a circle whose radius is 1; a collection takes the root.
        self._dots.set_sizes(self._radii[self._moment] ** 2)
        self._dots.draw(renderer)


class OldTrails(Artist):
    """The part of the trails that few frames change, below the shapes themselves."""

    def __init__(self, shapes: MovingShapes, figure: Figure) -> None:
        super().__init__()
        self.set_figure(figure)
        self.set_zorder(5)
        self._shapes = shapes

    @property
    def state(self) -> int:
        """The same while this looks the same."""
        return self._shapes.old_trails_state

    def draw(self, renderer: Any) -> None:
        """As the shapes are drawn."""
        if self.get_visible():
            self._shapes.draw_old_trails(renderer)


def _line_style(renderer: Any) -> Any:
    gc = renderer.new_gc()
    gc.set_antialiased(True)
    # Round joins and caps would double the time of the trails, and differ by less than a pixel.
    gc.set_joinstyle("bevel")
    return gc


class _Batch:
    """Synapses whose lines look alike: their numbers among all, and their colours, trails' from the faintest on."""

    def __init__(
        self,
        numbers: npt.NDArray[np.intp],
        shades: list[tuple[float, ...]],
        spoke: tuple[float, ...],
        unknown: npt.NDArray[np.bool_],
    ) -> None:
        self.numbers, self.shades, self.spoke, self.unknown = numbers, shades, spoke, unknown

    def find_tracks(self, pixels: Floats, step: int) -> None:
        """Where each synapse is at every moment, and at every so many, with room for the gap between two lines."""
        tracks = np.swapaxes(pixels[:, self.numbers], 0, 1)
        gap = np.full((len(self.numbers), 1, 2), np.nan)
        self.tracks = np.concatenate([tracks, gap], axis=1)
        self.coarse = np.concatenate([tracks[:, ::step], gap], axis=1)


def _path(lines: Floats, drawn: npt.NDArray[np.bool_]) -> Path:
    """Lines (S, N + 2, 2) that end with a gap, of whose N steps those are drawn where `drawn` (N,)."""
    if drawn.all():
        return Path(lines.reshape(-1, 2))
    codes = np.full(lines.shape[:2], Path.LINETO, Path.code_type)
    codes[:, 1:-1][:, ~drawn] = Path.MOVETO
    codes[:, 0] = Path.MOVETO
    # Without the gap, which codes make themselves.
    return Path(lines[:, :-1].reshape(-1, 2), codes[:, :-1].ravel())


def _bands(moments: int, step: int) -> list[tuple[tuple[int, int], float]]:
    """The trail cut by age into bands ((oldest, newest) age in moments, strength), the faintest first.

    Ages are multiples of `step`, so that all old bands change with the same frames.
    """
    ages = np.arange(moments)
    levels = np.round(np.exp(-ages / max(1, moments - 1) / _FADE_LENGTH) * _FADE_STEPS).astype(int)
    bands = []
    for level in np.unique(levels):
        inside = np.flatnonzero(levels == level)
        strength = _FAINTEST + (1 - _FAINTEST) * level / _FADE_STEPS
        oldest, newest = (-(-int(age) // step) * step for age in (inside[-1] + 1, inside[0]))
        bands.append(((oldest, newest), 0.9 * float(strength)))
    return bands
