"""AlexNet, for Places365."""

from __future__ import annotations

from torch import Tensor, nn

from acu_core.nn.convolution_unit import Unit, convolution_unit


def _fully_connected(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=(2 / inputs) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


class AlexNet(nn.Module):
    """AlexNet in one column.

    11x11 64 (stride 4); 5x5 192; 3x3 384, 256, 256, each with bias and ReLU, and 3x3 max pooling (stride 2) after the
    first, second and fifth; two fully connected layers with ReLU and dropout; one to the classes. The 5x5 and the 3x3
    convolutions are the units, conv2 to conv5; conv1 is ordinary.

    Assumed: the paper says "AlexNet" and no more. These are the widths of the one column of Krizhevsky ("One weird
    trick for parallelizing convolutional neural networks", 2014), without its local response normalisation and without
    BatchNorm, as torchvision has it; dropout follows the layers, as in Krizhevsky et al. (2012). He's fan-in weights
    and biases of 0, as in the paper's other networks.

    Shapes: images (N, in_channels, 224, 224), or at least 63 x 63, to logits (N, classes).

    Args:
        in_channels: of the images.
        classes: how many.
        unit: what the 5x5 and 3x3 convolutions are.
        dropout: share of the outputs of the fully connected layers that training sets to 0.
        hidden: width of the fully connected layers.

    Raises:
        ValueError: an option does not fit, with its name.
    """

    def __init__(self, in_channels: int, classes: int, unit: Unit, dropout: float = 0.5, hidden: int = 4096) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 to less than 1, not {dropout}")
        channels = in_channels
        for place, (width, kernel) in enumerate(((64, 11), (192, 5), (384, 3), (256, 3), (256, 3)), start=1):
            kind: Unit = "convolution" if place == 1 else unit
            stride, padding = (4, 2) if place == 1 else (1, kernel // 2)
            layer = convolution_unit(kind, channels, width, kernel, bias=True, stride=stride, padding=padding)
            self.add_module(f"conv{place}", layer)
            self.add_module(f"relu{place}", nn.ReLU(inplace=True))
            if place in (1, 2, 5):
                self.add_module(f"pool{place}", nn.MaxPool2d(3, stride=2))
            channels = width
        # Changes nothing for 224 x 224, whose images are 6 x 6 here.
        self.average = nn.AdaptiveAvgPool2d(6)
        self.flatten = nn.Flatten()
        inputs = channels * 6 * 6
        for place in (6, 7):
            self.add_module(f"full{place}", _fully_connected(inputs, hidden))
            self.add_module(f"relu{place}", nn.ReLU(inplace=True))
            self.add_module(f"dropout{place}", nn.Dropout(dropout))
            inputs = hidden
        self.classifier = _fully_connected(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, classes)."""
        for module in self.children():
            images = module(images)
        return images
