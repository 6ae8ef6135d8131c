"""The residual network for CIFAR."""

from __future__ import annotations

from torch import nn

from acu_core.nn.convolution_unit import Unit, append_convolution, convolution_unit
from acu_core.nn.pooled_network import PooledNetwork
from acu_core.nn.residual_block import PaddedShortcut, ResidualBlock


class Residual(PooledNetwork):
    """The residual network for CIFAR of 6 * blocks + 2 layers.

    3x3 16; three stages of `blocks` blocks of two 3x3 convolutions, 16, 32 and 64 channels wide, the second and third
    beginning with stride 2; the average over the image; 1x1 to the classes. Every 3x3 convolution is a unit, the first
    one too; the others are called block1_1.body.conv1 and so on: stage, block, convolution.

    Assumed: the paper says "32-layer residual network" and no more. Taken from He et al. (CVPR 2016, section 4.2) are
    widths, the order of BatchNorm and ReLU, and the shortcuts, which are theirs for CIFAR: option A, without
    parameters, so that the base has as many as a plain network of that depth (0.46M).

    Shapes: images (N, in_channels, 32, 32) to logits (N, classes).

    Args:
        in_channels: of the images.
        classes: how many.
        unit: what the 3x3 convolutions are.
        blocks: in each stage.

    Raises:
        ValueError: an option does not fit, with its name.
    """

    def __init__(self, in_channels: int, classes: int, unit: Unit, blocks: int = 5) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, not {blocks}")
        channels = 16
        append_convolution(self, "0", convolution_unit(unit, in_channels, channels, 3, padding=1))
        for stage, width in enumerate((16, 32, 64), start=1):
            for place in range(1, blocks + 1):
                stride = 2 if stage > 1 and place == 1 else 1
                convolutions = [
                    convolution_unit(unit, channels, width, 3, stride=stride, padding=1),
                    convolution_unit(unit, width, width, 3, padding=1),
                ]
                same = stride == 1 and channels == width
                shortcut = nn.Identity() if same else PaddedShortcut(width - channels, stride)
                self.add_module(f"block{stage}_{place}", ResidualBlock(convolutions, shortcut))
                channels = width
        self.append_classifier(channels, classes)
