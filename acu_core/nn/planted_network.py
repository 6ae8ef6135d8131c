"""The network for the built-in data."""

from __future__ import annotations

from torch import Tensor, nn

from acu_core.nn.convolution_unit import Unit, classifier, convolution_unit


class Planted(nn.Module):
    """The network for the built-in data: one unit that sees the centre pixel's surroundings, and a classifier.

    The unit's negative padding crops the 17x17 image to the centre pixel, so that the position of each synapse matters:
    pooled over the image, only differences of positions would.

    Shapes: images (N, in_channels, 17, 17) to logits (N, classes).

    Args:
        in_channels: of the images.
        classes: how many.
        unit: what the 3x3 convolution is.
        width: channels between the unit and the classifier.
    """

    def __init__(self, in_channels: int, classes: int, unit: Unit, width: int = 32) -> None:
        super().__init__()
        crop = 7  # 17 pixels less 7 on each side leave the 3x3 that one output pixel of a 3x3 unit needs
        if unit == "acu":
            self.crop: nn.Module = nn.Identity()
            self.unit = convolution_unit(unit, in_channels, width, 3, padding=-crop)
        else:
            self.crop = nn.ZeroPad2d(-crop)
            self.unit = convolution_unit(unit, in_channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.classifier = classifier(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, 17, 17) to (N, classes)."""
        logits: Tensor = self.classifier(self.relu(self.norm(self.unit(self.crop(images)))))
        return logits.flatten(1)
