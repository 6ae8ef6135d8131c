"""Launches of the CUDA operator and the memory that they move, counted where it runs on the CPU: docs/measurements.md.

Run as a program, this file prints the figures of that table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from operator_on_host import DEFAULTS, compiler, operator_on_host

PAGE = Path(__file__).parents[3] / "docs" / "measurements.md"
BATCH = 64
# What a batch of 64 moves is drawn as a line through what smaller ones do, with as many threads for each image.
COUNTED = (8, 16)


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
    images: int = BATCH
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
    """The launches in order: their names, and the bytes that they read and write."""

    sizes: list[tuple[str, int]]

    @property
    def launches(self) -> list[str]:
        """The names alone."""
        return [name for name, _ in self.sizes]

    @property
    def bytes(self) -> int:
        """Of all launches."""
        return sum(size for _, size in self.sizes)


def count(operator: Any, unit: Unit, images: int) -> tuple[Counted, Counted]:
    """Forward, and backward to image, weight and positions; everything channels_last, without a bias."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(unit.dtype)

    image = normal(images, unit.channels, unit.size, unit.size).to(memory_format=torch.channels_last)
    weight = normal(unit.outputs, unit.channels // unit.groups, 9)
    grid = torch.tensor([[y, x] for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])
    positions = (grid + 0.3).expand(unit.position_groups, -1, -1).contiguous()
    numbers = ([unit.stride] * 2, [0] * 4, unit.groups, True)
    operator.configure(unit.scratch, DEFAULTS[1] * images // unit.images)
    operator.count_traffic()
    output = operator.active_conv2d(image, weight, positions, None, *numbers)
    forward = operator.counted_traffic()
    gradient = torch.randn(output.shape, generator=generator).to(output).to(memory_format=torch.channels_last)
    operator.count_traffic()
    operator.active_conv2d_backward(gradient, image, weight, positions, *numbers, True, True, True, False)
    backward = operator.counted_traffic()
    operator.configure(*DEFAULTS)
    return _read(forward), _read(backward)


def _read(lines: str) -> Counted:
    sizes = []
    for line in lines.splitlines():
        name, read, written = line.split()
        body = re.search(r"acu4cuda(\d+)([A-Z]\w+)", name)  # as C++ compilers write a name: its length comes first
        sizes.append((body.group(2)[: int(body.group(1))] if body else name, int(read) + int(written)))
    return Counted(sizes)


def traffic(operator: Any, unit: Unit) -> tuple[Traffic, Traffic]:
    """Of forward and of backward."""
    image = unit.channels * unit.size**2 * unit.dtype.itemsize
    if unit.images == 1:
        forward, backward = (Traffic(len(one.sizes), one.bytes / image) for one in count(operator, unit, 1))
        return forward, backward
    few, more = (count(operator, unit, images) for images in COUNTED)
    forward, backward = (_of_batch(*both, image) for both in zip(few, more, strict=True))
    return forward, backward


def _of_batch(few: Counted, more: Counted, image: int) -> Traffic:
    assert few.launches == more.launches
    each = (more.bytes - few.bytes) / (COUNTED[1] - COUNTED[0])
    return Traffic(len(few.sizes), (few.bytes + (BATCH - COUNTED[0]) * each) / (BATCH * image))


@pytest.fixture(scope="module")
def operator() -> Any:
    if compiler() is None:
        pytest.skip("there is no C++ compiler on this machine")
    return operator_on_host()


def test_the_table_of_the_documentation(operator: Any) -> None:
    """What it says of the kernels as they are is what is counted; what it says of earlier ones was counted likewise."""
    section = PAGE.read_text().split("## What the CUDA operator launches and moves")[1].split("\n## ")[0]
    lines = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE)
    rows = {cells[0]: cells for cells in lines}
    for name, unit in UNITS.items():
        forward, backward = traffic(operator, unit)
        assert rows[name][1:] == (f"**{forward}**", f"**{backward}**"), name


def test_every_launch_is_counted(operator: Any) -> None:
    """Kernels by name; of torch's operations as many as torch's profiler sees."""
    unit = Unit(8, 8, 6)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        forward, backward = count(operator, unit, 2)
    assert forward.launches == ["copy", "BuildColumns", "bmm"]
    assert backward.launches == [
        *("copy", "bmm", "GatherInputGradient", "SumPositionGradients"),
        *("bmm", "copy", "FoldRows", "SumPositions"),
    ]
    inside = [event.name for event in profile.events() if _within_the_operator(event)]
    assert inside.count("aten::bmm") == 3
    assert inside.count("aten::copy_") == 3
    assert not {"aten::zero_", "aten::fill_", "aten::sum", "aten::add_", "aten::mul"} & set(inside)


def _within_the_operator(event: Any) -> bool:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        if event.name.startswith("acu_cuda_on_host::active"):
            return True
    return False


def test_every_byte_counts_once_a_launch(operator: Any) -> None:
    """Columns of a 1x1 unit on the grid: the image is read, the columns are as large, the product reads both."""
    image = torch.randn(1, 4, 5, 5).to(memory_format=torch.channels_last)
    weight, positions = torch.randn(6, 4, 1), torch.zeros(1, 1, 2)
    operator.count_traffic()
    operator.active_conv2d(image, weight, positions, None, [1, 1], [0] * 4, 1, True)
    lines = [line.split() for line in operator.counted_traffic().splitlines()]
    size = 4 * image.numel()
    weights, output, place = 4 * 24, 4 * 6 * 25, 8
    assert [tuple(map(int, line[1:])) for line in lines] == [(size + place, size), (size + weights, output)]


def test_an_image_in_slices_is_visited_by_each_where_it_reaches(operator: Any) -> None:
    """The input's gradient: every slice adds to the rows that it reaches, not to the whole image."""
    unit = UNITS["64 channels, one image in 36 slices"]
    _, backward = count(operator, unit, 1)
    assert backward.launches.count("AddSliceToInputGradient") == 36
    largest = max(size for name, size in backward.sizes if name == "AddSliceToInputGradient")
    row = 4 * unit.channels * unit.size
    # Columns of its own two rows of 72; one more above and two below is what 3x3 synapses between pixels see.
    assert largest <= 2 * 9 * row + 2 * 5 * row + 9 * 8


if __name__ == "__main__":
    for name, unit in UNITS.items():
        forward, backward = traffic(operator_on_host(), unit)
        print(f"| {name} | {forward} | {backward} |")
