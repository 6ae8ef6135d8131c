"""Made-up Caffe networks: their bytes, written without protobuf, and what they compute, written without acu."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

PAPER = (16, 48, 48, 96, 96, 192, 192, 1000)
# (y, x) of each synapse at the start, in the order in which Caffe stores them.
CAFFE_GRID = [(0, 0), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def text(tag: int, content: bytes | str) -> bytes:
    encoded = content.encode() if isinstance(content, str) else content
    return varint(tag << 3 | 2) + varint(len(encoded)) + encoded


def blob(values: npt.ArrayLike, shape: Sequence[int] | None = None) -> bytes:
    array = np.asarray(values, dtype="<f4")
    return text(5, array.tobytes()) + text(7, text(1, b"".join(map(varint, array.shape if shape is None else shape))))


@dataclass
class Layer:
    """One layer as it is stored."""

    name: str
    type: str
    bottom: str
    top: str
    blobs: list[npt.NDArray[np.float32]] = field(default_factory=list)
    tables: bytes = b""

    def encode(self) -> bytes:
        head = text(1, self.name) + text(2, self.type) + text(3, self.bottom) + text(4, self.top)
        return head + b"".join(text(7, blob(values)) for values in self.blobs) + self.tables


def encode(layers: Iterable[Layer], name: str = "PlainC") -> bytes:
    return text(1, name) + b"".join(text(100, layer.encode()) for layer in layers)


def made_up(
    widths: Sequence[int] = PAPER, *, channels: int = 3, classes: int = 10, seed: int = 0, spread: float = 0.3
) -> list[Layer]:
    """The layers of a plain network with random numbers; synapses lie within `spread` of the grid."""
    draw = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
        return (draw.standard_normal(shape) * scale).astype(np.float32)

    layers = [Layer("data", "Data", "", "data")]
    top, inputs = "data", channels
    for index, width in enumerate(widths):
        kernel, stride = 3 if 0 < index < 7 else 1, 2 if index in (3, 5) else 1
        geometry = number(2, 0) + (number(3, 1) if kernel == 3 else b"") + number(4, kernel) + number(6, stride)
        weight = normal(width, inputs, kernel, kernel, scale=(2 / (inputs * kernel**2)) ** 0.5)
        bottom, top = top, f"top{index}"
        if index < 7:
            x, y = np.zeros((2, 1, 1, kernel, kernel), np.float32)
            if kernel == 3:
                grid = np.array(CAFFE_GRID, np.float32)
                moved = grid + normal(9, 2, scale=spread) * (np.abs(grid).sum(1, keepdims=True) > 0)
                y, x = moved.T.reshape(2, 1, 1, 3, 3)
            blobs, kind = [weight, np.zeros((1, 1, 1, 1), np.float32), x, y], "AConvFast"
        else:
            blobs, kind = [weight], "Convolution"
        layers.append(Layer(f"conv{index}", kind, bottom, top, blobs, text(106, geometry)))
        factor = np.array([900.0], np.float32)
        mean, variance = normal(width) * factor, (normal(width) ** 2 + 0.5) * factor
        layers.append(Layer(f"bn{index}", "BatchNorm", top, top, [mean, variance, factor]))
        layers.append(Layer(f"scale{index}", "Scale", top, top, [normal(width) + 1, normal(width)]))
        layers.append(Layer(f"relu{index}", "ReLU", top, top))
        inputs = width
    layers.append(Layer("pool", "Pooling", top, "pool", [], text(121, number(1, 1) + number(12, 1))))
    score = [normal(classes, inputs, 1, 1, scale=inputs**-0.5), normal(classes)]
    layers.append(Layer("score", "Convolution", "pool", "score", score, text(106, number(4, 1) + number(6, 1))))
    layers.append(Layer("loss", "SoftmaxWithLoss", "score", "loss"))
    return layers


def active(images: Tensor, weight: Tensor, positions: Tensor, stride: int) -> Tensor:
    """(N, C, H, W) with weight (O, C, K) and positions (K, 2), by sampling the image K times."""
    height, width = images.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
    result = torch.zeros(())
    for k, (y, x) in enumerate(positions.tolist()):
        grid = torch.stack([2 * (columns + x) / (width - 1) - 1, 2 * (rows + y) / (height - 1) - 1], dim=-1)
        at = grid.expand(len(images), -1, -1, -1).to(images)
        sampled = F.grid_sample(images, at, mode="bilinear", padding_mode="zeros", align_corners=True)
        result = result + torch.einsum("nchw,oc->nohw", sampled, weight[:, :, k])
    return result


def logits(layers: Iterable[Layer], images: Tensor) -> Tensor:
    """What Caffe computes from `images` (N, C, H, W) in its test phase, in float64: (N, classes)."""
    images = images.double()
    for layer in layers:
        blobs = [torch.from_numpy(values).double() for values in layer.blobs]
        if layer.type == "AConvFast":
            stride = 2 if layer.name in ("conv3", "conv5") else 1
            positions = torch.stack([blobs[3].flatten(), blobs[2].flatten()], dim=-1)
            images = active(images, blobs[0].flatten(2), positions, stride)
        elif layer.type == "Convolution":
            images = F.conv2d(images, *blobs)
        elif layer.type == "BatchNorm":
            mean, variance = blobs[0] / blobs[2], blobs[1] / blobs[2]
            images = (images - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        elif layer.type == "Scale":
            images = images * blobs[0][:, None, None] + blobs[1][:, None, None]
        elif layer.type == "ReLU":
            images = images.relu()
        elif layer.type == "Pooling":
            images = images.mean((2, 3), keepdim=True)
    return images.flatten(1)
