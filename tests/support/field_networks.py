"""Networks whose receptive field is known, and what a bound on their gradients is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from acu_core.nn.receptive_field import ReceptiveField, receptive_field


def pooled(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def ones(*arguments: int, **options: Any) -> nn.Conv2d:
    conv = nn.Conv2d(*arguments, bias=False, **options)
    nn.init.ones_(conv.weight)
    return conv


def window(field: ReceptiveField, rows: slice, columns: slice) -> Tensor:
    """The unnormalised map there; everything else is checked to be zero."""
    outside = field.map.clone()
    outside[rows, columns] = 0
    assert not outside.any()
    return field.map[rows, columns] * field.total


class Forward(nn.Module):
    """What a function makes of a network's first convolution."""

    def __init__(self, function: Callable[[Tensor], Tensor], *, pool: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.function = function
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        result = self.function(self.conv(images))
        return result.mean((2, 3)) if self.pool else result


def disturbed(model: nn.Module, seed: int) -> nn.Module:
    """The network in evaluation mode, float64, with nothing as it is initialised."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=draw)
            with torch.no_grad():
                tensor.copy_(noise.abs() + 0.2 if name.endswith("running_var") else tensor + 0.3 * noise)
    return model.double().eval()


def unit_gradient(model: nn.Module, before: nn.Module, images: Tensor) -> Tensor:
    """Of the centre unit's sum over the channels of what `before` receives: (N, C, H, W), image by image."""
    seen: list[Tensor] = []
    hook = before.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    images = images.clone().requires_grad_()
    model(images.clone())
    hook.remove()
    (last,) = seen
    (gradient,) = torch.autograd.grad(last[:, :, last.shape[2] // 2, last.shape[3] // 2].sum(), images)
    return gradient


def assert_bounded(model: nn.Module, before: nn.Module, shape: tuple[int, int, int], *, images: int = 6) -> None:
    field = receptive_field(model, shape)
    draw = torch.Generator().manual_seed(7)
    given = torch.randn(images, *shape, generator=draw, dtype=torch.float64) * torch.logspace(-2, 2, images).view(
        -1, 1, 1, 1
    )
    found = unit_gradient(model, before, given).abs().sum(1)
    assert found.any()
    # Both in float64: what is left is its rounding.
    assert bool((found <= field.map * field.total * (1 + 1e-9)).all())
