"""The layer, its conversion from and to ordinary convolutions, how it is optimised, and the networks of the paper."""

from __future__ import annotations

from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.conversion import from_conv2d, to_conv2d
from acu_core.nn.networks import build_network, network_of
from acu_core.nn.optimization import normalize_positions, normalized_gradient, parameter_groups
from acu_core.nn.parameter_count import parameter_count

__all__ = [
    "ActiveConv2d",
    "active_layers",
    "build_network",
    "from_conv2d",
    "network_of",
    "normalize_positions",
    "normalized_gradient",
    "parameter_count",
    "parameter_groups",
    "to_conv2d",
]
