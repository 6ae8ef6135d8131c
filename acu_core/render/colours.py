"""The colours of the pictures, as RGB in 0..1, each one deliberate, in a light and a dark theme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]


def _rgb(code: str) -> Colour:
    return int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255


@dataclass(frozen=True)
class Theme:
    """What each colour is for. `ink`, `muted` and `warm_up_text` are legible on `paper`; `groups` are apart from each
    other for every kind of colour vision, and the first one is the accent of ordinary pictures.
    """

    name: str
    paper: Colour
    panel: Colour
    border: Colour
    grid: Colour
    first_cells: Colour
    """The cells in which the synapses start."""
    ink: Colour
    muted: Colour
    spoke: Colour
    ghost: Colour
    """The outline of a synapse's first place."""
    track: Colour
    """The part of the time line that is still to come."""
    warm_up_track: Colour
    warm_up: Colour
    warm_up_text: Colour
    hidden: Colour
    curve: Colour
    """The test error so far."""
    curve_ahead: Colour
    groups: tuple[Colour, ...]

    @property
    def resting(self) -> tuple[Colour, ...]:
        """The colours of large resting areas, which every palette keeps exactly."""
        return (
            self.paper,
            self.panel,
            self.border,
            self.grid,
            self.first_cells,
            self.track,
            self.warm_up_track,
            self.warm_up,
            self.ink,
        )

    @property
    def accents(self) -> tuple[Colour, ...]:
        """Colours of marks, which every palette keeps exactly too."""
        return (
            self.spoke,
            self.muted,
            self.ghost,
            self.warm_up_text,
            self.hidden,
            self.curve,
            self.curve_ahead,
            *self.groups,
        )

    def group(self, group: int) -> Colour:
        """The colour of a position group; they repeat after eight."""
        return self.groups[group % len(self.groups)]

    def fade(self, colour: Colour, strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """`colour` mixed into the panel: strengths (N,) in 0..1 give opaque RGB (N, 3).

        Opaque, because crossing transparent lines would make dots and cost a GIF its palette.
        """
        panel = np.asarray(self.panel)
        mixed: npt.NDArray[np.float64] = panel + strength[:, None] * (np.asarray(colour) - panel)
        return mixed


LIGHT = Theme(
    name="light",
    paper=_rgb("#f7f6f2"),
    panel=_rgb("#ffffff"),
    border=_rgb("#d9d6cc"),
    grid=_rgb("#e6e3da"),
    first_cells=_rgb("#f4f2ec"),
    ink=_rgb("#22303c"),
    muted=_rgb("#5c6872"),
    spoke=_rgb("#5b6873"),
    ghost=_rgb("#a3abb2"),
    track=_rgb("#e3e0d6"),
    warm_up_track=_rgb("#f6da92"),
    warm_up=_rgb("#e0a526"),
    warm_up_text=_rgb("#86600a"),
    hidden=_rgb("#86b6d9"),
    curve=_rgb("#22303c"),
    curve_ahead=_rgb("#c9c6bb"),
    groups=tuple(
        map(_rgb, ("#d9480f", "#12a0c2", "#6542c8", "#2d8b45", "#ce3378", "#664800", "#1a65ac", "#4e5051")),
    ),
)

DARK = Theme(
    name="dark",
    paper=_rgb("#14181d"),
    panel=_rgb("#1b2027"),
    border=_rgb("#39424d"),
    grid=_rgb("#2b323b"),
    first_cells=_rgb("#222831"),
    ink=_rgb("#eceff2"),
    muted=_rgb("#9ba7b2"),
    spoke=_rgb("#8996a3"),
    ghost=_rgb("#66717d"),
    track=_rgb("#2e353e"),
    warm_up_track=_rgb("#4a3d18"),
    warm_up=_rgb("#d9a02a"),
    warm_up_text=_rgb("#e0b04a"),
    hidden=_rgb("#4f86ad"),
    curve=_rgb("#eceff2"),
    curve_ahead=_rgb("#4c5662"),
    groups=tuple(
        map(_rgb, ("#ff7b3d", "#4be2ff", "#8577e8", "#69d273", "#ed4780", "#e6c126", "#79aeff", "#b3c1cc")),
    ),
)

THEMES: dict[str, Theme] = {theme.name: theme for theme in (LIGHT, DARK)}
