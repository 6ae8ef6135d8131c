"""The shortest text that names a float32, for many of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Nine significant digits name every float32; from here on 13 places behind the point have them.
_LEAST, _PLACES = 1e-4, 13
_MOST = 1e7


def shortest_floats(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """For each float32 the float whose `repr` is the shortest text that reads back as that float32; any shape."""
    flat = np.ravel(values)
    found = np.empty(flat.shape, np.float64)
    sizes = np.abs(flat)
    usual = (sizes == 0) | ((sizes >= _LEAST) & (sizes < _MOST))
    for index in np.flatnonzero(~usual):
        found[index] = float(str(flat[index]))
    left = np.flatnonzero(usual)
    exact: npt.NDArray[Any] = flat[left].astype(np.float64)
    for places in range(_PLACES + 1):
        # Ten to this power is exact, so the quotient is the float that is nearest to a text of so many places.
        scale = 10.0**places
        rounded = np.rint(exact * scale) / scale
        same = rounded.astype(np.float32) == flat[left]
        found[left[same]] = rounded[same]
        left, exact = left[~same], exact[~same]
        if not len(left):
            break
    return found.reshape(values.shape)
