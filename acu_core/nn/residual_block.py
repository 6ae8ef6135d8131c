"""What the residual networks are made of (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.nn.convolution_unit import append_convolution, convolution_unit


class ResidualBlock(nn.Module):
    """ReLU of the sum of a body and a shortcut.

    The body is the convolutions conv1, conv2, ..., each followed by BatchNorm and all but the last by ReLU.

    Shapes: (N, C, H, W) to (N, O, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, convolutions: Sequence[ActiveConv2d | nn.Conv2d], shortcut: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential()
        for place, convolution in enumerate(convolutions, start=1):
            append_convolution(self.body, str(place), convolution, relu=place < len(convolutions))
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, ceil(H / stride), ceil(W / stride))."""
        sum_: Tensor = self.relu(self.body(images) + self.shortcut(images))
        return sum_


class PaddedShortcut(nn.Module):
    """He et al.'s option A: every `stride`th pixel, and channels of zeros behind those that there are. No parameters.

    Shapes: (N, C, H, W) to (N, C + channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + channels, ceil(H / stride), ceil(W / stride))."""
        return functional.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))


def projected_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """He et al.'s option B: a 1x1 convolution and BatchNorm."""
    shortcut = nn.Sequential()
    convolution = convolution_unit("convolution", in_channels, out_channels, 1, stride=stride)
    append_convolution(shortcut, "", convolution, relu=False)
    return shortcut
