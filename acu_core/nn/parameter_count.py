"""How large a network is."""

from __future__ import annotations

from torch import nn

from acu_core.nn.active_conv2d import ActiveConv2d


def parameter_count(model: nn.Module) -> int:
    """How many parameters a network has: weights, biases, BatchNorm's scale and shift, positions, frozen ones too.

    A centre synapse that stays where it starts is not counted, so a 3x3 unit adds 16 numbers to its convolution. The
    paper's 0.82M and 1.66M are this count over 2**20.
    """
    layers = [module for module in model.modules() if isinstance(module, ActiveConv2d)]
    # By identity: two layers may share their shape.
    fixed = {id(layer.positions): 2 * layer.position_groups for layer in layers if layer.fix_centre}
    return sum(parameter.numel() for parameter in model.parameters()) - sum(fixed.values())
