"""Which convolutions of a ready-made model become active: the large ones, but for those that are named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from torch import nn

from acu_core.nn.conversion import Replacement, from_conv2d


def check_smallest_kernel(smallest_kernel: int) -> None:
    """Raises ValueError when every convolution would be large enough."""
    if smallest_kernel < 2:
        raise ValueError(f"smallest_kernel must be at least 2, not {smallest_kernel}: a 1x1 convolution has no shape")


def active_by_rule(
    model: nn.Module,
    name: str,
    smallest_kernel: int,
    except_layers: Collection[str],
    kinds: Mapping[type[nn.Conv2d], Replacement] | None = None,
) -> nn.Module:
    """A copy of the model `name` whose convolutions of `smallest_kernel` or more on both sides are active.

    Args:
        model: of any library.
        name: for messages.
        smallest_kernel: in pixels.
        except_layers: patterns of names of layers that stay ordinary, such as "conv1" and "layer1.*".
        kinds: see `from_conv2d`.

    Raises:
        ValueError: no convolution would become active, a pattern matches none of them, or one of them cannot.
    """
    large = [
        layer
        for layer, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) >= smallest_kernel
    ]
    for pattern in except_layers:
        if not any(fnmatchcase(layer, pattern) for layer in large):
            raise ValueError(
                f"the pattern {pattern!r} in except_layers matches no convolution of {name} that would become active; "
                f"these would: {', '.join(large) or 'none'}"
            )
    chosen = {layer for layer in large if not any(fnmatchcase(layer, pattern) for pattern in except_layers)}
    if not chosen:
        raise ValueError(
            f"no convolution of {name} is {smallest_kernel}x{smallest_kernel} or larger and not in except_layers: "
            "none would become active"
        )
    return from_conv2d(model, lambda layer, _: layer in chosen, kinds)
