"""The built-in data: smooth random fields, labelled by a hidden convolution whose shape is known and wider than 3x3."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from acu_core.data.data_set import sha256_of
from acu_core.data.data_source import DataSource
from acu_core.data.in_memory import InMemoryData
from acu_core.data.randomness import generator_for
from acu_core.errors import UserError

CHANNELS = 2
SIZE = 17
CLASSES = 8
BLUR = 1.5
RADIUS = 3.0
JITTER = 0.5

_CHUNK = 2048  # images made at a time: the noise of a chunk stays small beside the result


def planted_data(*, seed: int = 0, train_count: int = 40_000, test_count: int = 5_000) -> InMemoryData:
    """A known-answer test of learned shapes: the network can be right only if its synapses find the hidden ones.

    Shapes: images (count, 2, 17, 17), Gaussian fields of unit variance blurred by 1.5 pixels; labels (count,) in 0..7;
    `hidden_positions` (1, 9, 2). All of it is a function of `seed`; it takes a few seconds on one core.

    The label is the argmax of 8 hidden outputs at the centre pixel, each standardised over the training set so that the
    classes are about equally frequent. The outputs are never pooled: an average over the image shows only the field's
    autocorrelation with the shape, which leaves the shape ambiguous. The field is smooth because a synapse
    follows the slope of the image under it: from white noise it would learn nothing about what lies two pixels away.

    Raises `UserError` when a count is below 1 (2 for the training set, which is standardised) or the seed negative.
    """
    if train_count < 2 or test_count < 1:
        raise UserError(
            f"the planted data was asked for {train_count} training and {test_count} test images; "
            "give at least 2 and 1."
        )
    positions = hidden_positions(seed)
    weight = _weight(seed, positions.shape[1])
    train_images = _fields(train_count, seed, "planted training fields")
    test_images = _fields(test_count, seed, "planted test fields")
    train_outputs = _centre_outputs(train_images, weight, positions[0])
    test_outputs = _centre_outputs(test_images, weight, positions[0])
    mean, deviation = train_outputs.mean(0), train_outputs.std(0)
    train_labels = ((train_outputs - mean) / deviation).argmax(1)
    test_labels = ((test_outputs - mean) / deviation).argmax(1)
    raw = [tensor.numpy() for tensor in (train_images, train_labels, test_images, test_labels)]
    return InMemoryData(
        name="planted",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(f"output {index}" for index in range(CLASSES)),
        hidden_positions=positions,
        fingerprint={"data": sha256_of(raw)},
    )


def load_planted(source: DataSource, *, train_count: int, test_count: int) -> InMemoryData:
    """`planted_data` as a recipe asks for it."""
    return planted_data(seed=source.seed, train_count=train_count, test_count=test_count)


def hidden_positions(seed: int) -> Tensor:
    """(1, 9, 2) float32, (y, x): the centre, and 8 synapses about 3 pixels out along the eight directions.

    They stand in the row-major order of a 3x3 kernel (the centre is number 4), so a learned 3x3 unit's synapse t starts
    in the direction of hidden synapse t, and the two can be compared without matching. Each but the centre is moved by
    up to 0.5 pixels, uniformly over the disc, so that no grid and no circle holds the answer.
    """
    draw = generator_for(seed, "planted positions")
    positions = np.zeros((9, 2))
    for synapse, (y, x) in enumerate((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)):
        if (y, x) == (0, 0):
            continue
        angle, distance = draw.uniform(0, 2 * math.pi), JITTER * math.sqrt(draw.uniform())
        length = math.hypot(y, x)
        positions[synapse, 0] = RADIUS * y / length + distance * math.sin(angle)
        positions[synapse, 1] = RADIUS * x / length + distance * math.cos(angle)
    return torch.from_numpy(positions).float().unsqueeze(0)


def _weight(seed: int, synapses: int) -> Tensor:
    """(8, 2, K) float64: random, but every synapse weighs the same and no two have alike weights.

    The columns of a random orthogonal matrix. With plain normal weights two neighbouring synapses come out similar for
    some seeds, and can then stand in for one another: seen as a learned pair two pixels from its hidden one.
    """
    draw = generator_for(seed, "planted weight").standard_normal((CLASSES * CHANNELS, synapses))
    orthogonal, _ = np.linalg.qr(draw)
    return torch.from_numpy(orthogonal).reshape(CLASSES, CHANNELS, synapses)


def _fields(count: int, seed: int, purpose: str) -> Tensor:
    """(count, 2, 17, 17) float32: white noise under a Gaussian blur, with variance 1 at every pixel."""
    reach = math.ceil(4 * BLUR)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / BLUR) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    draw = generator_for(seed, purpose)
    fields = torch.empty(count, CHANNELS, SIZE, SIZE)
    for start in range(0, count, _CHUNK):
        chunk = fields[start : start + _CHUNK]
        noise = torch.from_numpy(
            draw.standard_normal((len(chunk), CHANNELS, SIZE + 2 * reach, SIZE + 2 * reach), dtype=np.float32)
        )
        # Sums of shifted images rather than a convolution: the same bits for any number of threads.
        rows = torch.zeros(len(chunk), CHANNELS, SIZE, SIZE + 2 * reach)
        for offset, factor in enumerate(kernel.tolist()):
            rows.add_(noise[:, :, offset : offset + SIZE], alpha=factor)
        chunk.zero_()
        for offset, factor in enumerate(kernel.tolist()):
            chunk.add_(rows[..., offset : offset + SIZE], alpha=factor)
    return fields


def _centre_outputs(images: Tensor, weight: Tensor, positions: Tensor) -> Tensor:
    """(N, O) float64: the hidden convolution of `images` (N, C, H, W) at the centre pixel, bilinearly interpolated.

    `weight` is (O, C, K) and `positions` (K, 2). Written as a gather, apart from the operator that it is there to test.
    """
    outputs = torch.zeros(len(images), weight.shape[0], dtype=torch.float64)
    for synapse, (y, x) in enumerate(positions.double().tolist()):
        row, column = SIZE // 2 + math.floor(y), SIZE // 2 + math.floor(x)
        down, right = y - math.floor(y), x - math.floor(x)
        corners = images[:, :, row : row + 2, column : column + 2].double()
        across = corners[..., 0] * (1 - right) + corners[..., 1] * right
        sample = across[..., 0] * (1 - down) + across[..., 1] * down
        outputs += (sample[:, :, None] * weight[:, :, synapse].T).sum(1)
    return outputs
