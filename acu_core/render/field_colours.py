"""The colours of receptive fields: one scale from the panel's own colour on, its lightness ever falling or rising."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from acu_core.render.colours import Colour, Theme

# So many that no step is seen, so few that a palette holds them beside all others.
_STEPS = 64
# Of Matplotlib's magma, whose lightness rises evenly and which no colour blindness folds. Its palest and darkest ends
# are left out: the panel's colour takes their place.
_FROM_PALE, _FROM_DARK = (0.93, 0.14), (0.22, 0.94)


@dataclass(frozen=True)
class FieldTheme(Theme):
    """A theme with the scale `field`, whose colours every palette keeps: a step that lags looks like a step."""

    field: tuple[Colour, ...] = ()

    @classmethod
    def of(cls, theme: Theme) -> FieldTheme:
        """`theme` and its scale, from the panel to the strongest contrast: pale to dark, or the reverse."""
        dark = sum(theme.panel) < 1.5
        steps = np.linspace(*(_FROM_DARK if dark else _FROM_PALE), 24)
        colours = [(*theme.panel, 1.0), *matplotlib.colormaps["magma"](steps)]
        places = [0.0, *np.linspace(0.06, 1.0, 24)]
        smooth = LinearSegmentedColormap.from_list("field", list(zip(places, colours, strict=True)), N=_STEPS)
        field = tuple((float(r), float(g), float(b)) for r, g, b, _ in smooth(np.arange(_STEPS)))
        return cls(**vars(theme), field=field)

    @property
    def resting(self) -> tuple[Colour, ...]:
        """Those of all pictures, and the scale."""
        return (*super().resting, *self.field)

    @property
    def colour_map(self) -> LinearSegmentedColormap:
        """The scale for Matplotlib."""
        return LinearSegmentedColormap.from_list("field", self.field, N=_STEPS)
