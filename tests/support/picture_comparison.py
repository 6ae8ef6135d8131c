"""How far two pictures of one thing are apart: blind to another antialiasing, not to something that is missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

# Seen: Matplotlib 3.9 and 3.10 against 3.11 at most 2.8, the palette of a stored picture 0.7; a line of small letters
# that is missing at least 36, the trails of one large panel 34.
TOLERANCE = 8.0
# Pixels by which a mark may stand aside: another version of Matplotlib sets letters a little closer or wider.
_ASIDE = 3
_WINDOW = 10


def farthest(one: Image.Image, other: Image.Image) -> float:
    """By how much, of 255, the worst square of one picture lies outside what the other shows there and nearby."""
    assert one.size == other.size
    one, other = one.convert("RGB"), other.convert("RGB")
    return max(_outside(one, other), _outside(other, one))


def _outside(picture: Image.Image, known: Image.Image) -> float:
    values, known_values = _values(picture), _values(known)
    darkest, lightest = _extreme(known_values, np.minimum), _extreme(known_values, np.maximum)
    outside = np.maximum(values - lightest, darkest - values).clip(0).max(axis=-1).astype(np.float64)
    sums = np.pad(outside, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    squares = sums[_WINDOW:] - sums[:-_WINDOW]
    return float((squares[:, _WINDOW:] - squares[:, :-_WINDOW]).max()) / _WINDOW**2


def _values(image: Image.Image) -> npt.NDArray[np.int16]:
    return np.asarray(image.filter(ImageFilter.GaussianBlur(1))).astype(np.int16)


def _extreme(values: npt.NDArray[np.int16], choose: np.ufunc) -> npt.NDArray[np.int16]:
    """The least or largest value near each pixel."""
    for axis in (0, 1):
        padded = np.pad(values, [(_ASIDE, _ASIDE) if axis == a else (0, 0) for a in range(3)], mode="edge")
        count = values.shape[axis]
        values = choose.reduce([padded.take(range(s, s + count), axis) for s in range(2 * _ASIDE + 1)])
    return values
