"""What timm's own kinds of convolution do beside convolving, done around an active layer. Imports no timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from acu_core.nn.active_conv2d import ActiveConv2d


class PadToSame:
    """A forward pre-hook that pads as TensorFlow's "same" does: the output has ceil(size / stride) rows and columns.

    How much that takes depends on the image's size, so it is decided at each image; an odd row or column of zeros goes
    behind. The kernel is the one that the synapses start on: where they move, the padding stays.
    """

    def __init__(self, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> None:
        self._axes = tuple(zip(kernel_size, stride, dilation, strict=True))

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(N, C, H, W) to what is convolved without further padding."""
        (images,) = inputs
        rows, columns = (
            max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
            for size, (kernel, stride, dilation) in zip(images.shape[-2:], self._axes, strict=True)
        )
        sides = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return (functional.pad(images, sides) if any(sides) else images,)


class Standardized(nn.Module):
    """A parametrization: each output's weights with mean 0 and variance 1, times its gain where it has one.

    Shapes: (O, C/groups, K) to the same.
    """

    def __init__(self, eps: float, gain: Tensor | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.scale = scale
        # A copy, as the active layer's weight is one.
        self.gain = None if gain is None else nn.Parameter(gain.detach().clone(), requires_grad=gain.requires_grad)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with."""
        gain = None if self.gain is None else (self.gain * self.scale).flatten()
        rows = weight.reshape(1, weight.shape[0], -1)
        return functional.batch_norm(rows, None, None, gain, None, True, 0.0, self.eps).reshape_as(weight)


def same_padded(conv: Any, **options: Any) -> ActiveConv2d:
    """The active layer for timm's Conv2dSame."""
    layer = ActiveConv2d.from_conv2d(_ordinary(conv), **options)
    layer.register_forward_pre_hook(PadToSame(conv.kernel_size, conv.stride, conv.dilation))
    return layer


def standardized(conv: Any, **options: Any) -> ActiveConv2d:
    """The active layer for timm's StdConv2d and ScaledStdConv2d, and for both with "same" padding.

    It learns what they learn: the weight before it is standardised, and the gain.
    """
    make = same_padded if getattr(conv, "same_pad", False) else ActiveConv2d.from_conv2d
    layer = make(_ordinary(conv), **options)
    gain = getattr(conv, "gain", None)
    rule = Standardized(conv.eps) if gain is None else Standardized(conv.eps, gain, conv.scale)
    # Its shape is the weight's own: nothing to try out now.
    parametrize.register_parametrization(layer, "weight", rule, unsafe=True)
    layer.train(conv.training)
    return layer


def _ordinary(conv: nn.Conv2d) -> nn.Conv2d:
    """The plain Conv2d with the parameters, the arguments and the hooks of one with another forward."""
    plain = nn.Conv2d.__new__(nn.Conv2d)
    plain.__dict__.update(conv.__dict__)
    return plain
