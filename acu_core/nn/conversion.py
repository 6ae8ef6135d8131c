"""Between active and ordinary convolutions, exactly both ways.

A shape is constant over the image, so an active convolution is an ordinary one whose kernel holds each weight spread
bilinearly on four cells: a network can leave this project as plain Conv2d layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from acu_core.op.reference import dense_kernel

if TYPE_CHECKING:
    from acu_core.nn.active_conv2d import ActiveConv2d


# A megapixel of weights for every pair of channels: beyond any image, so surely not meant.
LARGEST_WINDOW = 2**20


def active_from_conv2d(conv: nn.Conv2d, cls: type[ActiveConv2d], **options: Any) -> ActiveConv2d:
    """See `ActiveConv2d.from_conv2d`."""
    if not isinstance(conv, nn.Conv2d) or type(conv).forward is not nn.Conv2d.forward or is_parametrized(conv):
        kind = f"parametrized {type(conv).__name__}" if is_parametrized(conv) else type(conv).__name__
        raise ValueError(f"only a plain Conv2d can become an ActiveConv2d, not a {kind}, which computes something else")
    device, dtype = conv.weight.device, conv.weight.dtype
    layer = cls(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        conv.bias is not None,
        conv.padding_mode,
        device,
        dtype,
        **options,
    )
    with torch.no_grad():
        layer.weight.copy_(conv.weight.flatten(2))
        if conv.bias is not None and layer.bias is not None:
            layer.bias.copy_(conv.bias)
    layer.weight.requires_grad_(conv.weight.requires_grad)
    # What was frozen stays as it is, shape and all.
    layer.positions.requires_grad_(conv.weight.requires_grad)
    if conv.bias is not None and layer.bias is not None:
        layer.bias.requires_grad_(conv.bias.requires_grad)
    layer.train(conv.training)
    return layer


def _window(lowest: int, highest: int, front: int, back: int) -> tuple[int, int, int]:
    """First cell, number of cells and padding along one axis.

    `front` and `back` are the operator's paddings. A Conv2d pads both sides alike and never crops, so cells without
    weight are added: in front until the padding is not negative, and on the side that is padded less.
    """
    first, last = lowest, highest
    # A window [first, last] needs front - first before the image and back + last behind it.
    padding = max(front - first, back + last, 0)
    return front - padding, padding - back - (front - padding) + 1, padding


def conv2d_from_active(layer: ActiveConv2d) -> nn.Conv2d:
    """See `ActiveConv2d.to_conv2d`: the smallest window whose padding is symmetric and not negative."""
    positions = layer.positions.detach()
    if not bool(torch.isfinite(positions).all()):
        raise ValueError(f"positions {tuple(positions.shape)} must be finite")
    floor = positions.floor()
    # A synapse on the grid needs one cell, not two.
    last = torch.where(positions == floor, floor, floor + 1)
    top, bottom, left, right = layer._paddings
    windows = []
    for axis, (front, back) in enumerate(((top, bottom), (left, right))):
        windows.append(_window(int(floor[..., axis].min()), int(last[..., axis].max()), front, back))
    (row, rows, pad_h), (column, columns, pad_w) = windows
    if rows * columns > LARGEST_WINDOW:
        raise ValueError(
            f"an ordinary convolution would need a window of {rows} x {columns} for positions "
            f"{tuple(positions.shape)}: a synapse is too far out"
        )
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (rows, columns),
        layer.stride,
        (pad_h, pad_w),
        groups=layer.groups,
        bias=layer.bias is not None,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    with torch.no_grad():
        weight = layer.weight.to(positions.dtype)
        conv.weight.copy_(dense_kernel(weight, positions, (row, rows), (column, columns)))
        if layer.bias is not None and conv.bias is not None:
            conv.bias.copy_(layer.bias)
            conv.bias.requires_grad_(layer.bias.requires_grad)
    conv.weight.requires_grad_(layer.weight.requires_grad)
    conv.train(layer.training)
    return conv


def _replace(model: nn.Module, replacement: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of `model` in which a module for which `replacement` gives another is that other one."""
    whole = replacement("", model)
    if whole is not None:
        return whole
    model = copy.deepcopy(model)
    others: dict[int, nn.Module | None] = {}
    # With duplicates: a module that is used twice is replaced twice, by one and the same other.
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if not name:
            continue
        if id(module) not in others:
            others[id(module)] = replacement(name, module)
        other = others[id(module)]
        if other is not None:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, other)
    return model


def to_conv2d(model: nn.Module) -> nn.Module:
    """A copy of a network with every active layer as the Conv2d that equals it. Nothing of ours is left in it."""
    from acu_core.nn.active_conv2d import ActiveConv2d

    return _replace(model, lambda _, module: module.to_conv2d() if isinstance(module, ActiveConv2d) else None)


def from_conv2d(model: nn.Module, wanted: Callable[[str, nn.Conv2d], bool] | None = None, **options: Any) -> nn.Module:
    """A copy of a network with convolutions as active layers that keep their weights exactly.

    Args:
        model: any network.
        wanted: given name and Conv2d, whether to replace it; by default, kernels larger than 1x1.
        options: of `ActiveConv2d.from_conv2d`.
    """
    from acu_core.nn.active_conv2d import ActiveConv2d

    def larger_than_one(name: str, conv: nn.Conv2d) -> bool:
        return max(conv.kernel_size) > 1

    chosen = wanted or larger_than_one

    def replacement(name: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, nn.Conv2d) and chosen(name, module):
            return ActiveConv2d.from_conv2d(module, **options)
        return None

    return _replace(model, replacement)
