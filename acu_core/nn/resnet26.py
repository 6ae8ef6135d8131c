"""The residual network for Places365."""

from __future__ import annotations

from torch import nn

from acu_core.nn.convolution_unit import Unit, append_convolution, convolution_unit
from acu_core.nn.pooled_network import PooledNetwork
from acu_core.nn.residual_block import ResidualBlock, projected_shortcut


class ResNet26(PooledNetwork):
    """The paper's residual network for Places365: 26 layers, four stages of two bottleneck blocks.

    7x7 64 (stride 2); 3x3 max pooling (stride 2); blocks of 1x1, 3x3 and 1x1 convolutions, 64, 128, 256 and 512 wide
    and 4 times that at their ends, all stages but the first beginning with stride 2; the average over the image; 1x1 to
    the classes. The 3x3 convolutions are the units, called block1_1.body.conv2 and so on: stage, block, convolution.
    The 7x7 and the 1x1 are ordinary.

    Assumed, because the paper does not say: all else is as in He et al. (CVPR 2016): the stride is that of a block's
    first 1x1 convolution (torchvision's networks have it in the 3x3), and where the shape changes the shortcut is a 1x1
    convolution with BatchNorm (option B).

    Shapes: images (N, in_channels, 224, 224), or any size, to logits (N, classes).

    Args:
        in_channels: of the images.
        classes: how many.
        unit: what the 3x3 convolutions are.
    """

    def __init__(self, in_channels: int, classes: int, unit: Unit) -> None:
        super().__init__()
        first = convolution_unit("convolution", in_channels, 64, 7, stride=2, padding=3)
        append_convolution(self, "0", first)
        self.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            for place in (1, 2):
                stride = 2 if stage > 1 and place == 1 else 1
                convolutions = [
                    convolution_unit(unit, channels, width, 1, stride=stride),
                    convolution_unit(unit, width, width, 3, padding=1),
                    convolution_unit(unit, width, 4 * width, 1),
                ]
                shortcut = nn.Identity() if place == 2 else projected_shortcut(channels, 4 * width, stride)
                self.add_module(f"block{stage}_{place}", ResidualBlock(convolutions, shortcut))
                channels = 4 * width
        self.append_classifier(channels, classes)
