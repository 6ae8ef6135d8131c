"""The operator: a convolution whose synapses sit at learned, fractional positions."""

from __future__ import annotations

from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

__all__ = ["Paddings", "active_conv2d", "active_conv2d_reference"]
