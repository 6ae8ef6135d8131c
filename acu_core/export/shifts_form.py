"""The form `shifts`: the unit's own operations in standard layers, each synapse a shifted image and a 1x1 product.

Where a synapse lies between pixels, the shifted image is a blend of four, the same for every channel: a depthwise
convolution. One product for each synapse costs what an ordinary convolution does; a kernel over all cells that the
synapses touch costs two to three times as much. Synapses that lie together are cheaper as one small kernel all the same
(nine in a window of 3x3 need no blend), so a form says which of them are its kernel, and only the others are shifted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acu_core.export.dense_form import dense_form
from acu_core.export.fixed_unit import FixedUnit, filled_convolution
from acu_core.nn.window import check_window, reached_cells
from acu_core.op.reference import dense_kernel

BLEND_COSTS = (3.0, 1.0, 2.0, 5.0, 10.0)
"""What a multiply-add of a blend may cost in those of a product, which are better used; the first is the likeliest."""
LARGEST_BLEND = 7
"""Cells of a blend's kernel along an axis, with zeros; beyond them the image is padded or cropped for it."""
MOST_BLENDS = 256
"""More are not offered: the graph would be larger than the network."""


class ShiftsForm(nn.Module):
    """A kernel of some synapses, and a blend and a 1x1 product for each of the others, added up.

    Shapes: (N, C, H, W) to (N, O, H', W').

    Args:
        unit: with one position group, no two synapses at one place.
        kernel: the synapses of the small kernel.
        symmetric: whether blends are padded alike on all sides, by kernels with zeros: PyTorch is faster so. Else only
            as far as they reach, which runtimes of ONNX fold into the convolution.
        channels_last: whether the layer computes with channels last, whatever comes in and goes out.
    """

    def __init__(self, unit: FixedUnit, kernel: Sequence[int], *, symmetric: bool, channels_last: bool) -> None:
        super().__init__()
        shifted = [synapse for synapse in range(unit.synapses) if synapse not in kernel]
        self.inner = dense_form(unit.only(list(kernel))) if kernel else None
        self.blends = nn.ModuleList(_blend(unit, synapse, symmetric=symmetric) for synapse in shifted)
        self.products = nn.ModuleList(
            # The bias goes with the last.
            filled_convolution(
                unit.weight[:, :, synapse, None, None],
                unit.bias if synapse == shifted[-1] else None,
                unit.dtype,
                groups=unit.groups,
            )
            for synapse in shifted
        )
        self._channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        """The sum."""
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        output: Tensor | None = None if self.inner is None else self.inner(images)
        for blend, product in zip(self.blends, self.products, strict=True):
            term = product(blend(images))
            output = term if output is None else output + term
        assert output is not None
        return output.contiguous() if self._channels_last else output


class JoinedForms(nn.Module):
    """Position groups, each with a form of its own: their outputs follow one another."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H', W')."""
        return torch.cat([part(images) for part in self.parts], 1)


def shifts_form(unit: FixedUnit, blend_cost: float, *, symmetric: bool, channels_last: bool) -> nn.Module:
    """The form that is cheapest where a blend's multiply-add costs `blend_cost` of a product's.

    Raises ValueError when a synapse is too far out, or the form is not offered for such a unit.
    """
    groups = unit.positions.shape[0]
    if groups > 1 and unit.groups > 1:
        raise ValueError("position groups in a grouped convolution have no form of shifts")
    if groups * unit.synapses > MOST_BLENDS:
        raise ValueError(f"{groups} x {unit.synapses} shifted images are more than {MOST_BLENDS}")
    parts = []
    for group in range(groups):
        part = unit.position_group(group).merged()
        kernel = cheapest_kernel(part, blend_cost)
        if len(kernel) == part.synapses:
            parts.append(dense_form(part))
        else:
            parts.append(ShiftsForm(part, kernel, symmetric=symmetric, channels_last=channels_last))
    return parts[0] if groups == 1 else JoinedForms(parts)


def cheapest_kernel(unit: FixedUnit, blend_cost: float) -> list[int]:
    """The synapses, all within one window, that are better one kernel; of several such choices, the most of them."""
    first, last = (cells[0].tolist() for cells in reached_cells(unit.positions))
    product = unit.weight.shape[1] * unit.outputs
    # A blend has nine cells where it is padded.
    shift = product + 9 * unit.channels * blend_cost

    def spans(axis: int) -> list[tuple[float, float]]:
        starts, ends = ({cells[axis] for cells in side} for side in (first, last))
        return [span for span in itertools.product(starts, ends) if span[0] <= span[1]]

    best: tuple[float, list[int]] = (unit.synapses * shift, [])
    for (top, bottom), (left, right) in itertools.product(spans(0), spans(1)):
        inside = [
            synapse
            for synapse in range(unit.synapses)
            if top <= first[synapse][0]
            and last[synapse][0] <= bottom
            and left <= first[synapse][1]
            and last[synapse][1] <= right
        ]
        cost = (bottom - top + 1) * (right - left + 1) * product + (unit.synapses - len(inside)) * shift
        if inside and (cost, -len(inside)) < (best[0], -len(best[1])):
            best = (cost, inside)
    return best[1]


def _blend(unit: FixedUnit, synapse: int, *, symmetric: bool) -> nn.Module:
    """The depthwise convolution that shifts every channel to where a synapse looks."""
    place = unit.positions[:, synapse : synapse + 1]
    first, last = ([int(v) for v in cells.flatten().tolist()] for cells in reached_cells(place))
    paddings = ((unit.paddings.top, unit.paddings.bottom), (unit.paddings.left, unit.paddings.right))
    spans, pads, extents = [], [], []
    for axis, (front, back) in enumerate(paddings):
        # A convolution pads and never crops: rows of zeros reach to where the padding ends.
        lowest, highest = min(first[axis], front), max(last[axis], -back)
        if symmetric:
            padding = max(front - lowest, back + highest)
            lowest, highest = front - padding, padding - back
        extents.append(highest - lowest + 1)
        if highest - lowest >= LARGEST_BLEND:
            lowest, highest = first[axis], last[axis]
        spans.append((lowest, highest - lowest + 1))
        pads.append((front - lowest, back + highest))
    # As far as a dense kernel may reach, and no further: the image is padded for it.
    check_window(extents[0], extents[1], place, (unit.outputs, unit.channels))
    kernel = dense_kernel(unit.weight.new_ones(unit.channels, 1, 1), place, spans[0], spans[1])
    return filled_convolution(
        kernel, None, unit.dtype, stride=unit.stride, groups=unit.channels, rows=pads[0], columns=pads[1]
    )


def shifted_synapses(form: nn.Module) -> int:
    """How many shifted images a form makes."""
    return sum(len(module.blends) for module in form.modules() if isinstance(module, ShiftsForm))


def kernel_sizes(form: nn.Module) -> list[tuple[int, ...]]:
    """The kernels of a form that are larger than one cell, its blends left out."""
    blends = {
        id(part) for module in form.modules() if isinstance(module, ShiftsForm) for part in module.blends.modules()
    }
    convolutions = [m for m in form.modules() if isinstance(m, nn.Conv2d) and id(m) not in blends]
    return sorted({tuple(conv.kernel_size) for conv in convolutions if math.prod(conv.kernel_size) > 1})
