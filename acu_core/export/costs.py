"""What a network or a layer takes: numbers that are stored, and multiply-adds for one image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from acu_core.export.custom_form import CustomForm
from acu_core.nn.active_conv2d import ActiveConv2d


@dataclass(frozen=True)
class Costs:
    """`operations` are the multiply-adds of convolutions, blends and products for one image."""

    parameters: int
    operations: int


def costs(network: nn.Module, images: Tensor) -> Costs:
    """Of a network, by running it on `images` (1, C, H, W)."""
    operations = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal operations
        if isinstance(module, nn.Conv2d | nn.Linear):
            operations += output.numel() * math.prod(module.weight.shape[1:])
        elif isinstance(module, CustomForm):
            pixels = output.numel() // output.shape[1]
            # Two blends along x and one along y for each synapse and channel.
            interpolated = module.positions.shape[:2].numel() * inputs[0].shape[1]
            operations += output.numel() * math.prod(module.weight.shape[1:]) + 3 * interpolated * pixels

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    stored = sum(parameter.numel() for parameter in network.parameters())
    positions = (module.positions.numel() for module in network.modules() if isinstance(module, CustomForm))
    return Costs(stored + sum(positions), operations)


def input_sizes(network: nn.Module, images: Tensor) -> dict[str, tuple[int, int, int]]:
    """(C, H, W) of what each active layer gets for `images`, by its name; where it is used twice, the first time."""
    found: dict[str, tuple[int, int, int]] = {}

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            channels, height, width = inputs[0].shape[-3:]
            found.setdefault(name, (channels, height, width))

        return note

    hooks = [
        # After the layer's own, which may pad.
        module.register_forward_pre_hook(noting(name))
        for name, module in network.named_modules()
        if isinstance(module, ActiveConv2d)
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found
