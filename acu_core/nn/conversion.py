"""Networks between active and ordinary convolutions, exactly both ways; `ActiveConv2d` converts the layers.

A shape is constant over the image, so an active convolution is an ordinary one whose kernel holds each weight spread
bilinearly on four cells: a network can leave this project as plain Conv2d layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.nn.layer_hooks import copy_hooks

Replacement = Callable[..., ActiveConv2d]
"""What makes the active layer that computes what a convolution of one class does: `ActiveConv2d.from_conv2d`, or like
it."""


def _replace(model: nn.Module, replacement: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of `model` in which a module for which `replacement` gives another is that other one.

    Wherever the model refers to a replaced module (under two names, in a list, by a bound method, or because it is the
    module) its copy refers to the one replacement.
    """
    others: dict[int, Any] = {}
    for name, module in model.named_modules():
        try:
            other = replacement(name, module)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}" if name else str(error)) from error
        if other is not None:
            others[id(module)] = other
    replacements = list(others.values())
    # To deepcopy, a replaced module is one that has been copied already.
    copied = copy.deepcopy(model, others)
    # It has the hooks of the one that it replaces, and perhaps some of its own.
    for other in replacements:
        copy_hooks(other, other, lambda hooks: copy.deepcopy(hooks, others))
    return copied


def replace_active(model: nn.Module, replacement: Callable[[str, ActiveConv2d], nn.Module]) -> nn.Module:
    """A copy of a network with another module in place of each active layer; it gets the layer's hooks.

    Raises ValueError as `replacement` does, with the layer's name.
    """

    def other(name: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, ActiveConv2d):
            return None
        made = replacement(name, module)
        copy_hooks(module, made)
        return made

    return _replace(model, other)


def to_conv2d(model: nn.Module) -> nn.Module:
    """A copy of a network with every active layer as the Conv2d that equals it.

    Nothing of ours is left in it but hooks, where it has convolutions of timm that pad by the size of the image.

    Equal to the rounding of the layer's dtype: kernels are computed in float64 and rounded once. Training mode, frozen
    parameters, hooks and shared layers stay as they are; optimizers know only the old parameters.

    Raises:
        ValueError: a layer, which is named, cannot be an ordinary convolution: its positions are not finite or so far
            out that the kernel would be huge, or its class computes something else.
    """
    return _replace(model, lambda _, module: module.to_conv2d() if isinstance(module, ActiveConv2d) else None)


def from_conv2d(
    model: nn.Module,
    wanted: Callable[[str, nn.Conv2d], bool] | None = None,
    kinds: Mapping[type[nn.Conv2d], Replacement] | None = None,
    **options: Any,
) -> nn.Module:
    """A copy of a network with convolutions as active layers that keep their weights exactly.

    Args:
        model: any network.
        wanted: given name and Conv2d, whether to replace it; by default, kernels larger than 1x1.
        kinds: for subclasses of Conv2d that compute something else, by class: what replaces one, called with it
            and `options`.
        options: of `ActiveConv2d.from_conv2d`.
    """

    def larger_than_one(name: str, conv: nn.Conv2d) -> bool:
        return max(conv.kernel_size) > 1

    chosen = wanted or larger_than_one

    def replacement(name: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, nn.Conv2d) and chosen(name, module):
            active: Replacement = (kinds or {}).get(type(module), ActiveConv2d.from_conv2d)
            return active(module, **options)
        return None

    return _replace(model, replacement)
