"""What surrounds the arithmetic of a layer, its hooks, when another layer takes its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

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


def check_weight(layer: nn.Module) -> None:
    """Raises ValueError for a weight that the old `weight_norm` and `spectral_norm` make before each forward."""
    if "weight" not in layer._parameters and not is_parametrized(layer, "weight"):
        raise ValueError(
            f"the weight of this {type(layer).__name__} is computed by a hook: remove it first "
            "(torch.nn.utils.remove_weight_norm, remove_spectral_norm)"
        )


def copy_hooks(source: nn.Module, target: nn.Module, copied: Callable[[Any], Any] = copy.copy) -> None:
    """Gives `target` the hooks of `source`, each as `copied` makes it.

    A hook may change what the layer receives or returns, so a replacement without it would not be equal.
    """
    for name in _HOOKS:
        setattr(target, name, copied(getattr(source, name)))
