"""With a fixed number of threads the operator gives the same bits, claimed in CONTRIBUTING and tested three ways.

The same call again; the same numbers elsewhere in memory; another process. Each looks at the output and at all four
gradients, over shapes that take every path through the kernels. Run as a program, this file prints the digests that
another process compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings

NO_PADDING = Paddings(0, 0, 0, 0)


@dataclass(frozen=True)
class Shape:
    images: int
    channels: int
    outputs: int
    size: tuple[int, int]
    groups: int = 1
    position_groups: int = 1
    synapses: int = 9
    stride: int = 1
    padding: Paddings = NO_PADDING
    dtype: torch.dtype = torch.float32


# The paths through the kernels, each with parts of vectors and of panels, and more than one tile for every thread.
SHAPES = {
    "tiles of rows": Shape(3, 20, 24, (16, 15)),
    "tiles of images": Shape(30, 20, 24, (5, 6)),
    "tiles of interleaved images": Shape(30, 60, 40, (8, 7)),
    "interleaved images, float64": Shape(
        26, 30, 24, (9, 8), stride=2, padding=Paddings(0, 1, 0, 1), dtype=torch.float64
    ),
    "small images, float16": Shape(26, 60, 24, (5, 6), dtype=torch.float16),
    "split products of rows": Shape(3, 36, 40, (16, 15)),
    "split products of one image": Shape(1, 36, 40, (20, 17)),
    "several shapes, split products": Shape(3, 36, 40, (16, 15), position_groups=4),
    "several shapes of one image": Shape(1, 36, 40, (20, 17), position_groups=8, padding=Paddings(1, 0, 2, 1)),
    "parts of a row": Shape(2, 11, 20, (3, 450)),
    "one image": Shape(1, 20, 24, (20, 17)),
    "one image, float64": Shape(1, 19, 23, (20, 21), dtype=torch.float64),
    "three channels": Shape(3, 3, 16, (15, 15)),
    "three channels, one image": Shape(1, 3, 20, (40, 17), position_groups=2),
    "one channel, float64": Shape(2, 1, 7, (9, 230), dtype=torch.float64),
    "blocks of channels": Shape(3, 500, 18, (7, 8), synapses=4),
    "blocks of synapses": Shape(3, 30, 18, (7, 8), synapses=25),
    "depthwise": Shape(3, 30, 30, (15, 14), groups=30),
    "depthwise, one image": Shape(1, 61, 61, (15, 14), groups=61),
    "depthwise in blocks": Shape(3, 500, 500, (7, 8), groups=500),
    "depthwise, a shape a channel": Shape(3, 53, 53, (15, 14), groups=53, position_groups=53),
    "depthwise, stride 2": Shape(3, 37, 37, (31, 30), groups=37, stride=2, padding=Paddings(1, 1, 1, 1)),
    "groups": Shape(3, 30, 24, (14, 15), groups=3),
    "depthwise, bfloat16": Shape(3, 61, 61, (21, 20), groups=61, dtype=torch.bfloat16),
    "depthwise, a shape a channel, float16": Shape(
        3, 53, 53, (31, 30), groups=53, position_groups=53, stride=2, padding=Paddings(1, 1, 1, 1), dtype=torch.float16
    ),
    "position groups": Shape(3, 20, 24, (14, 15), position_groups=4),
    "position groups, bfloat16": Shape(3, 20, 24, (14, 15), position_groups=4, dtype=torch.bfloat16),
    "both groups, float64": Shape(3, 20, 30, (14, 15), groups=2, position_groups=3, dtype=torch.float64),
    "stride 2": Shape(3, 20, 24, (31, 30), stride=2, padding=Paddings(1, 1, 1, 1)),
    "one image, stride 2": Shape(1, 20, 24, (41, 40), stride=2, padding=Paddings(top=-1, bottom=2, left=3, right=-2)),
}
NAMES = ("output", "grad_input", "grad_weight", "grad_positions", "grad_bias")
THREADS = (1, 3)  # three: shares that are not equal


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def draw(shape: Shape, channels_last: bool) -> list[Tensor]:
    """Input, weight, positions, bias and the gradient of the output."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=shape.dtype)

    image = normal(shape.images, shape.channels, *shape.size)
    weight = normal(shape.outputs, shape.channels // shape.groups, shape.synapses)
    positions = 1.5 * normal(shape.position_groups, shape.synapses, 2)
    positions = positions if shape.dtype == torch.float64 else positions.float()
    positions[:, ::3] = positions[:, ::3].round()
    bias = normal(shape.outputs)
    height = shape.size[0] + shape.padding.top + shape.padding.bottom
    width = shape.size[1] + shape.padding.left + shape.padding.right
    grad_output = normal(shape.images, shape.outputs, (height - 1) // shape.stride + 1, (width - 1) // shape.stride + 1)
    if channels_last:
        image, grad_output = (t.contiguous(memory_format=torch.channels_last) for t in (image, grad_output))
    return [image, weight, positions, bias, grad_output]


def call(shape: Shape, tensors: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of input, weight, positions and bias."""
    *leaves, grad_output = tensors
    leaves = [t.detach().requires_grad_() for t in leaves]
    output = active_conv2d(*leaves, shape.stride, shape.padding, shape.groups)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad_output)]


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def different(results: list[Tensor], first: list[Tensor]) -> list[str]:
    return [name for name, a, b in zip(NAMES, results, first, strict=True) if not same_bits(a, b)]


def other_work(seed: int) -> None:
    """Leaves numbers in the memory that the next call gets, in the caches and in the order of free blocks."""
    used = [torch.full((size * (seed + 1),), float("nan")) for size in (100, 5_000, 80_000, 300_000)]
    torch.mm(torch.ones(50 + seed, 70), torch.ones(70, 60))
    del used


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_same_call_again(shape: Shape, channels_last: bool) -> None:
    tensors = draw(shape, channels_last)
    for count in THREADS:
        with threads(count):
            first = call(shape, tensors)
            for repetition in range(2):
                other_work(repetition)
                assert not different(call(shape, tensors), first), f"{count} threads, repetition {repetition}"


@pytest.mark.parametrize("name", ["tiles of rows", "one image", "depthwise, one image", "both groups, float64"])
def test_the_same_call_from_two_threads_at_once(name: str) -> None:
    shape, tensors = SHAPES[name], draw(SHAPES[name], False)
    with threads(2):
        first = call(shape, tensors)
        wrong: list[object] = []
        start = threading.Barrier(2)

        def work() -> None:
            torch.set_num_threads(2)
            start.wait()
            for _ in range(3):
                wrong.extend(different(call(shape, tensors), first))

        others = [threading.Thread(target=work) for _ in range(2)]
        for other in others:
            other.start()
        for other in others:
            other.join()
    assert not wrong


def elsewhere(tensor: Tensor, places: int) -> Tensor:
    """A copy with the same strides whose memory starts so many elements beyond the start of a cache line."""
    memory = torch.full((tensor.numel() + places,), float("nan"), dtype=tensor.dtype)
    return torch.as_strided(memory, tensor.shape, tensor.stride(), places).copy_(tensor)


def as_slices(tensor: Tensor) -> Tensor:
    """A view of a larger tensor: every second element along the last axis, from the second on."""
    memory = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1] + 1), float("nan"))
    return memory[..., 1::2].copy_(tensor)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_same_numbers_elsewhere_in_memory(shape: Shape, channels_last: bool) -> None:
    tensors = draw(shape, channels_last)
    moved = [elsewhere(tensor, places) for places, tensor in enumerate(tensors, 1)]
    # The layout of the input decides that of the call, so a slice of it belongs to contiguous only.
    sliced = [tensors[0] if channels_last else as_slices(tensors[0]), *(as_slices(t) for t in tensors[1:])]
    for count in THREADS:
        with threads(count):
            first = call(shape, tensors)
            assert not different(call(shape, moved), first), f"{count} threads, moved"
            assert not different(call(shape, sliced), first), f"{count} threads, slices"


def digests() -> dict[str, str]:
    """One for each shape, layout, number of threads and result."""
    found = {}
    for channels_last in (False, True):
        for name, shape in SHAPES.items():
            tensors = draw(shape, channels_last)
            for count in THREADS:
                with threads(count):
                    for part, result in zip(NAMES, call(shape, tensors), strict=True):
                        key = f"{name}, channels_last={channels_last}, {count} threads: {part}"
                        found[key] = hashlib.sha256(result.contiguous().view(torch.uint8).numpy()).hexdigest()
    return found


def test_another_process() -> None:
    # It has one thread for the work of three: bits depend on the number asked for, not on the number that came.
    environment = os.environ | {"OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "2"}
    other = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    theirs, ours = json.loads(other.stdout), digests()
    assert [key for key in ours if theirs[key] != ours[key]] == []
    # Else this would compare nothing: more threads cut the sums in another way.
    assert (
        ours["one image, channels_last=True, 3 threads: grad_weight"]
        != (ours["one image, channels_last=True, 1 threads: grad_weight"])
    )


if __name__ == "__main__":
    print(json.dumps(digests()))
