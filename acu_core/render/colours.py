"""The colours of the pictures, as RGB in 0..1, each one deliberate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def _rgb(code: str) -> tuple[float, float, float]:
    return int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255


PAPER = _rgb("#f7f6f2")
PANEL = _rgb("#ffffff")
BORDER = _rgb("#d9d6cc")
GRID = _rgb("#e6e3da")
FIRST_CELLS = _rgb("#f4f2ec")
INK = _rgb("#22303c")
MUTED = _rgb("#7b8791")
SPOKE = _rgb("#5b6873")
TRACK = _rgb("#e3e0d6")
WARM_UP_TRACK = _rgb("#f3e3b8")
WARM_UP = _rgb("#e0a526")
WARM_UP_TEXT = _rgb("#9a6f0b")
HIDDEN = _rgb("#86b6d9")
# After Okabe & Ito, so that groups stay apart for colour-blind eyes; the first is the accent of ordinary pictures.
_GROUPS = ("#d9480f", "#0b7285", "#5f3dc4", "#2b8a3e", "#c2255c", "#8a6d00", "#1864ab", "#495057")

RESTING = (PAPER, PANEL, BORDER, GRID, FIRST_CELLS, TRACK, WARM_UP_TRACK, WARM_UP, INK)
"""The colours of large resting areas, which every palette keeps exactly."""
ACCENTS = (SPOKE, MUTED, WARM_UP_TEXT, HIDDEN, *map(_rgb, _GROUPS))
"""Colours of marks, which every palette keeps exactly too."""


def group_colour(group: int) -> tuple[float, float, float]:
    """The colour of a position group; they repeat after eight."""
    return _rgb(_GROUPS[group % len(_GROUPS)])


def fade(colour: tuple[float, float, float], strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`colour` mixed into the panel's white: strengths (N,) in 0..1 give opaque RGB (N, 3).

    Opaque, because crossing transparent lines would make dots and cost a GIF its palette.
    """
    panel = np.asarray(PANEL)
    mixed: npt.NDArray[np.float64] = panel + strength[:, None] * (np.asarray(colour) - panel)
    return mixed
