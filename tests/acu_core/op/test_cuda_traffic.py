"""Launches of the CUDA operator and the memory that they move, counted where it runs on the CPU: docs/measurements.md.

Run as a program, this file prints the figures of that table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from operator_on_host import DEFAULTS, compiler, operator_on_host

PAGE = Path(__file__).parents[3] / "docs" / "measurements.md"
# A batch of 64 is counted as an eighth of it, with an eighth of the threads: every figure but the weights' is the same.
IMAGES, THREADS = 8, DEFAULTS[1] // 8


@dataclass(frozen=True)
class Unit:
    """A 3x3 unit, as a network has it."""

    channels: int
    outputs: int
    size: int
    stride: int = 1
    groups: int = 1
    position_groups: int = 1
    dtype: torch.dtype = torch.float32
    images: int = IMAGES
    scratch: int = DEFAULTS[0]


UNITS = {
    "48 channels at 32x32": Unit(48, 48, 32),
    "... in bfloat16": Unit(48, 48, 32, dtype=torch.bfloat16),
    "96 channels at 16x16": Unit(96, 96, 16),
    "192 channels at 8x8": Unit(192, 192, 8),
    "48 to 96 channels at 32x32, stride 2": Unit(48, 96, 32, stride=2),
    "96 channels at 16x16, 4 position groups": Unit(96, 96, 16, position_groups=4),
    "96 channels at 16x16, depthwise": Unit(96, 96, 16, groups=96),
    # Its columns take 36 times the scratch memory, as those of 64 channels at 2048x2048 do.
    "64 channels, one image in 36 slices": Unit(64, 64, 72, images=1, scratch=64 * 9 * 4 * 72 * 2),
}


class Traffic(NamedTuple):
    """Launches of a call, and the bytes that they read and write as multiples of the image's."""

    launches: int
    images: float

    def __str__(self) -> str:
        return f"{self.launches}, {self.images:.1f}"


class Counted(NamedTuple):
    """The names of the launches in order, and all bytes that they read and write."""

    launches: list[str]
    bytes: int


def count(operator: Any, unit: Unit) -> tuple[Counted, Counted]:
    """Forward, and backward to image, weight and positions; everything channels_last, without a bias."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(unit.dtype)

    image = normal(unit.images, unit.channels, unit.size, unit.size).to(memory_format=torch.channels_last)
    weight = normal(unit.outputs, unit.channels // unit.groups, 9)
    grid = torch.tensor([[y, x] for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])
    positions = (grid + 0.3).expand(unit.position_groups, -1, -1).contiguous()
    numbers = ([unit.stride] * 2, [0] * 4, unit.groups, True)
    operator.configure(unit.scratch, THREADS)
    operator.count_traffic()
    output = operator.active_conv2d(image, weight, positions, None, *numbers)
    forward = operator.counted_traffic()
    gradient = torch.randn(output.shape, generator=generator).to(output)
    operator.count_traffic()
    operator.active_conv2d_backward(gradient, image, weight, positions, *numbers, True, True, True, False)
    backward = operator.counted_traffic()
    operator.configure(*DEFAULTS)
    return _read(forward), _read(backward)


def _read(lines: str) -> Counted:
    launches, total = [], 0
    for line in lines.splitlines():
        name, read, written = line.split()
        body = re.search(r"\d([A-Z][A-Za-z]+?)I", name)
        launches.append(body.group(1) if body else name)
        total += int(read) + int(written)
    return Counted(launches, total)


def traffic(operator: Any, unit: Unit) -> tuple[Traffic, Traffic]:
    """Of forward and of backward."""
    image = unit.images * unit.channels * unit.size**2 * unit.dtype.itemsize
    forward, backward = (Traffic(len(one.launches), one.bytes / image) for one in count(operator, unit))
    return forward, backward


@pytest.fixture(scope="module")
def operator() -> Iterator[Any]:
    if compiler() is None:
        pytest.skip("there is no C++ compiler on this machine")
    yield operator_on_host()


if __name__ == "__main__":
    for name, unit in UNITS.items():
        forward, backward = traffic(operator_on_host(), unit)
        print(f"| {name} | {forward} | {backward} |")
