"""Paddings by name: one order for Python, for the operator's schema and for the kernels (csrc/paddings.h)."""

from __future__ import annotations

from typing import NamedTuple


class Paddings(NamedTuple):
    """What is padded on each side of an image, in pixels, for a 1x1 convolution; a negative number crops."""

    top: int
    bottom: int
    left: int
    right: int
