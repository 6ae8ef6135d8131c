"""What the networks are made of: the one factory that decides between convolution and ACU, and what goes with it."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from acu_core.nn.active_conv2d import ActiveConv2d

Unit = Literal["acu", "convolution"]


def check_unit(unit: str) -> None:
    """Raises ValueError when `unit` is neither "acu" nor "convolution"."""
    if unit not in ("acu", "convolution"):
        raise ValueError(f"unit must be 'acu' or 'convolution', not {unit!r}")


def convolution_unit(
    unit: Unit, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = False, **options: Any
) -> ActiveConv2d | nn.Conv2d:
    """A convolution with He's fan-in weights: `unit` where the kernel is larger than 1x1, else ordinary.

    Args:
        unit: "acu" or "convolution".
        in_channels: C.
        out_channels: O.
        kernel_size: of one side, in pixels.
        bias: whether to learn one; it starts at 0.
        options: of both kinds: stride, padding, dilation.

    Raises:
        ValueError: `unit` is neither "acu" nor "convolution".
    """
    check_unit(unit)
    kind = ActiveConv2d if unit == "acu" and kernel_size > 1 else nn.Conv2d
    layer = kind(in_channels, out_channels, kernel_size, bias=bias, **options)
    fan_in = layer.weight.shape[1] * kernel_size**2
    nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def append_convolution(
    module: nn.Module, suffix: str, convolution: ActiveConv2d | nn.Conv2d, *, relu: bool = True
) -> None:
    """Adds `convolution` to `module` as "conv" + suffix, then BatchNorm (eps 1e-5) "norm" + suffix and ReLU."""
    module.add_module(f"conv{suffix}", convolution)
    module.add_module(f"norm{suffix}", nn.BatchNorm2d(convolution.out_channels, eps=1e-5))
    if relu:
        module.add_module(f"relu{suffix}", nn.ReLU(inplace=True))


def classifier(channels: int, classes: int) -> nn.Conv2d:
    """The last 1x1 convolution, with a bias that starts at 0 and He's fan-in weights."""
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(layer.weight, std=(2 / channels) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
