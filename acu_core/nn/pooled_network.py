"""What the networks with global average pooling have in common."""

from __future__ import annotations

from torch import Tensor, nn

from acu_core.nn.convolution_unit import classifier


class PooledNetwork(nn.Module):
    """A network whose modules follow one another, the average over the image and a 1x1 to the classes being the last.

    A subclass adds its modules in their order, then calls `append_classifier`.

    Shapes: images (N, in_channels, H, W) to logits (N, classes).
    """

    def append_classifier(self, channels: int, classes: int) -> None:
        """Adds "pool" and "classifier", the last two."""
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, classes)."""
        for module in self.children():
            images = module(images)
        return images.flatten(1)
