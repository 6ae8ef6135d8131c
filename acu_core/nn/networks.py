"""The paper's networks. One factory decides whether a unit is an ordinary convolution or an active one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from acu_core.nn.active_conv2d import ActiveConv2d

Unit = Literal["acu", "convolution"]


def convolution_unit(
    unit: Unit, in_channels: int, out_channels: int, kernel_size: int, **options: Any
) -> ActiveConv2d | nn.Conv2d:
    """A convolution without bias with He's fan-in weights: `unit` where the kernel is larger than 1x1, else ordinary.

    Raises:
        ValueError: `unit` is neither "acu" nor "convolution".
    """
    if unit not in ("acu", "convolution"):
        raise ValueError(f"unit must be 'acu' or 'convolution', not {unit!r}")
    kind = ActiveConv2d if unit == "acu" and kernel_size > 1 else nn.Conv2d
    layer = kind(in_channels, out_channels, kernel_size, bias=False, **options)
    fan_in = layer.weight.shape[1] * kernel_size**2
    nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
    return layer


def classifier(channels: int, classes: int) -> nn.Conv2d:
    """The last 1x1 convolution, with a bias that starts at 0 and He's fan-in weights."""
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(layer.weight, std=(2 / channels) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Plain(nn.Module):
    """The paper's plain CIFAR network.

    1x1 16; 3x3 48, 48, 96 (stride 2), 96, 192 (stride 2), 192; 1x1 1000, each followed by BatchNorm (eps 1e-5) and
    ReLU; the average over the image; 1x1 to the classes. The 3x3 convolutions are the units; their names are conv1_1
    to conv3_2, as in the paper.

    Shapes: images (N, in_channels, 32, 32) to logits (N, classes).
    """

    def __init__(self, in_channels: int, classes: int, unit: Unit) -> None:
        super().__init__()
        self._append("0", convolution_unit("convolution", in_channels, 16, 1))
        channels = 16
        for stage, width in enumerate((48, 96, 192), start=1):
            for place in (1, 2):
                stride = 2 if stage > 1 and place == 1 else 1
                layer = convolution_unit(unit, channels, width, 3, stride=stride, padding=1)
                self._append(f"{stage}_{place}", layer)
                channels = width
        self._append("4", convolution_unit("convolution", channels, 1000, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier(1000, classes)

    def _append(self, suffix: str, convolution: ActiveConv2d | nn.Conv2d) -> None:
        self.add_module(f"conv{suffix}", convolution)
        self.add_module(f"norm{suffix}", nn.BatchNorm2d(convolution.out_channels, eps=1e-5))
        self.add_module(f"relu{suffix}", nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, classes)."""
        for module in self.children():
            images = module(images)
        return images.flatten(1)


class Planted(nn.Module):
    """The network for the built-in data: one unit that sees the centre pixel's surroundings, and a classifier.

    The unit's negative padding crops the 17x17 image to the centre pixel, so that the position of each synapse matters:
    pooled over the image, only differences of positions would.

    Shapes: images (N, in_channels, 17, 17) to logits (N, classes).
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


NETWORKS: Mapping[str, Callable[..., nn.Module]] = {"plain": Plain, "planted": Planted}


def build_network(name: str, *, in_channels: int, classes: int, unit: Unit = "acu", **options: Any) -> nn.Module:
    """A network of `NETWORKS` by name.

    Args:
        name: "plain" or "planted".
        in_channels: channels of the images.
        classes: number of logits.
        unit: what the convolutions larger than 1x1 are: "acu" or "convolution".
        options: of the network.

    Raises:
        ValueError: the name or the unit is unknown.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name](in_channels, classes, unit, **options)
