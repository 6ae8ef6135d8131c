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
# A gigabyte of float32 for one layer: asking for more would end in the middle, without memory.
LARGEST_KERNEL = 2**28

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_is_full_backward_hook",
)


def _check_weight(layer: nn.Module) -> None:
    """Raises ValueError for a weight that the old `weight_norm` and `spectral_norm` make before each forward."""
    if "weight" not in layer._parameters and not is_parametrized(layer, "weight"):
        raise ValueError(
            f"the weight of this {type(layer).__name__} is computed by a hook: remove it first "
            "(torch.nn.utils.remove_weight_norm, remove_spectral_norm)"
        )


def _copy_hooks(source: nn.Module, target: nn.Module, copied: Callable[[Any], Any] = copy.copy) -> None:
    # A hook may change what the layer receives or returns, so a replacement without it would not be equal.
    for name in _HOOKS:
        setattr(target, name, copied(getattr(source, name)))


def active_from_conv2d(conv: nn.Conv2d, cls: type[ActiveConv2d], **options: Any) -> ActiveConv2d:
    """See `ActiveConv2d.from_conv2d`."""
    if not isinstance(conv, nn.Conv2d) or type(conv).forward is not nn.Conv2d.forward or is_parametrized(conv):
        kind = f"parametrized {type(conv).__name__}" if is_parametrized(conv) else type(conv).__name__
        raise ValueError(f"only a plain Conv2d can become an ActiveConv2d, not a {kind}, which computes something else")
    _check_weight(conv)
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
    _copy_hooks(conv, layer)
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
    from acu_core.nn.active_conv2d import ActiveConv2d

    if type(layer).forward is not ActiveConv2d.forward:
        raise ValueError(f"only a plain ActiveConv2d can become a Conv2d: {type(layer).__name__} has another forward")
    _check_weight(layer)
    # Once: a parametrized weight may be another one at each look.
    weight = layer.weight.detach()
    if weight.is_meta or layer.positions.is_meta:
        raise ValueError("a layer on the meta device has no values to convert: load them first")
    # In float64 until the kernel is rounded once; on the CPU, because not every device has float64.
    positions = layer.positions.detach().cpu().double()
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
    if rows * columns > LARGEST_WINDOW or rows * columns * weight.shape[0] * weight.shape[1] > LARGEST_KERNEL:
        y, x = positions.flatten(0, 1)[int(positions.abs().amax(-1).argmax())].tolist()
        raise ValueError(
            f"an ordinary convolution would need a window of {rows} x {columns} for each of "
            f"{weight.shape[0]} x {weight.shape[1]} pairs of channels: a synapse is too far out, at "
            f"(y, x) = ({y:.6g}, {x:.6g})"
        )
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (rows, columns),
        layer.stride,
        (pad_h, pad_w),
        groups=layer.groups,
        bias=layer.bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        kernel = dense_kernel(weight.cpu().double(), positions, (row, rows), (column, columns))
        # Rounded before it travels: the layer's device may lack float64.
        conv.weight.copy_(kernel.to(weight.dtype))
        if layer.bias is not None and conv.bias is not None:
            conv.bias.copy_(layer.bias)
            conv.bias.requires_grad_(layer.bias.requires_grad)
    conv.weight.requires_grad_(layer.weight.requires_grad)
    conv.train(layer.training)
    _copy_hooks(layer, conv)
    return conv


def _replace(model: nn.Module, replacement: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of `model` in which a module for which `replacement` gives another is that other one.

    Wherever the model refers to a replaced module (under two names, in a list, by a bound method, or because it is the
    module) its copy refers to the one replacement.
    """
    others: dict[int, Any] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []
    for name, module in model.named_modules():
        try:
            other = replacement(name, module)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}" if name else str(error)) from error
        if other is not None:
            others[id(module)] = other
            pairs.append((module, other))
    # To deepcopy, a replaced module is one that has been copied already.
    copied = copy.deepcopy(model, others)
    for module, other in pairs:
        _copy_hooks(module, other, lambda hooks: copy.deepcopy(hooks, others))
    return copied


def to_conv2d(model: nn.Module) -> nn.Module:
    """A copy of a network with every active layer as the Conv2d that equals it. Nothing of ours is left in it.

    Equal to the rounding of the layer's dtype: kernels are computed in float64 and rounded once. Training mode, frozen
    parameters, hooks and shared layers stay as they are; optimizers know only the old parameters.

    Raises:
        ValueError: a layer, which is named, cannot be an ordinary convolution: its positions are not finite or so far
            out that the kernel would be huge, or its class computes something else.
    """
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
