"""Shapes that take every path through the kernels, and what is drawn for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from acu_core.op import functional
from acu_core.op.arguments import Arguments, output_size
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

NO_PADDING = Paddings(0, 0, 0, 0)
LAYOUTS = ("contiguous", "channels_last", "strided")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Tensors(NamedTuple):
    """The arguments of a call, and the gradient of its output."""

    input: Tensor
    weight: Tensor
    positions: Tensor
    bias: Tensor
    grad_output: Tensor

    def to(self, device: torch.device) -> Tensors:
        """The same numbers and strides on a device."""
        return Tensors(*(_moved(tensor, device) for tensor in self))


class Results(NamedTuple):
    """The output of a call, and the gradients of its arguments."""

    output: Tensor
    input: Tensor
    weight: Tensor
    positions: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Case:
    """A shape of the operator, and where its positions are: near, integer, beside (an integer) or far."""

    name: str
    images: int = 2
    channels: int = 8
    outputs: int = 12
    size: tuple[int, int] = (7, 6)
    synapses: int = 9
    stride: tuple[int, int] = (1, 1)
    padding: Paddings = NO_PADDING
    groups: int = 1
    position_groups: int = 1
    positions: str = "near"

    @property
    def settings(self) -> tuple[tuple[int, int], Paddings, int]:
        """Stride, padding and groups, as the operator takes them."""
        return self.stride, self.padding, self.groups

    def draw(self, dtype: torch.dtype, layout: str = "contiguous", seed: int = 0) -> Tensors:
        """The same random numbers for every layout, on the CPU; positions in float32, or in float64 with float64."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        height, width = output_size(self.size, Arguments(*self.settings))
        positions = self._placed(2 * normal(self.position_groups, self.synapses, 2), dtype)
        image = normal(self.images, self.channels, *self.size).to(dtype)
        gradient = normal(self.images, self.outputs, height, width).to(dtype)
        return Tensors(
            in_layout(image, layout),
            normal(self.outputs, self.channels // self.groups, self.synapses).to(dtype),
            positions.to(torch.float64 if dtype == torch.float64 else torch.float32),
            normal(self.outputs).to(dtype),
            in_layout(gradient, layout),
        )

    def _placed(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        if self.positions == "integer":
            return positions.round()
        if self.positions == "beside":
            tiny = 1e-15 if dtype == torch.float64 else 1e-7
            return positions.round() + tiny * positions.sign()
        if self.positions == "far":
            far = torch.tensor([1.0, 1.0, 1e2, 1e9, 1e30], dtype=positions.dtype)
            return positions * far[torch.arange(positions.shape[1]) % len(far)][None, :, None]
        return positions


# Each differs from the first in what its name says.
CASES = (
    Case("3x3 between pixels"),
    Case("3x3 on the grid", positions="integer"),
    Case("next to the grid", positions="beside", padding=Paddings(1, 1, 1, 1)),
    Case("far outside", positions="far"),
    Case("odd channels", channels=3, outputs=5, padding=Paddings(top=1, bottom=2, left=0, right=1)),
    Case("many channels", channels=61, outputs=47, synapses=4),
    Case("stride 2", stride=(2, 2), size=(9, 10), padding=Paddings(1, 1, 1, 1), positions="integer"),
    Case("stride 3 by 1, cropped", stride=(3, 1), size=(11, 9), padding=Paddings(top=-2, bottom=1, left=1, right=-1)),
    Case("groups", groups=4),
    Case("depthwise", channels=12, groups=12, padding=Paddings(1, 1, 1, 1)),
    Case("position groups", position_groups=4),
    Case("groups across position groups", groups=2, position_groups=3, stride=(1, 2)),
    Case("a wide image", images=1, size=(3, 250), padding=Paddings(top=4, bottom=0, left=0, right=9)),
    Case("several images at once", images=33, size=(3, 4)),
    Case("channels and outputs for tiles", images=6, channels=37, outputs=41, size=(9, 8)),
    Case("several shapes for tiles", images=6, channels=37, outputs=44, size=(9, 8), position_groups=4),
)
EMPTY = (Case("no images", images=0), Case("no images, in groups", images=0, groups=4, position_groups=2))
ONE_PIXEL = (
    Case("1x1 images", size=(1, 1)),
    Case("1x1 images, a border around", size=(1, 1), padding=Paddings(1, 2, 0, 1), stride=(2, 1)),
    Case("1x1 images, one of everything", images=1, channels=1, outputs=1, size=(1, 1), synapses=1),
)
# Several tiles and blocks for every thread of the CPU's kernels, and enough pixels for slices on a GPU.
LARGE = (
    Case("several tiles of rows", images=3, channels=48, outputs=48, size=(32, 31)),
    Case("one image for all threads", images=1, channels=20, outputs=24, size=(61, 60), padding=Paddings(2, 2, 2, 2)),
    Case("parts of a row", channels=11, outputs=20, size=(3, 450)),
    Case("several shapes in blocks", channels=40, outputs=54, size=(20, 31), position_groups=6),
    Case("blocks of channels", images=5, channels=500, outputs=24, size=(8, 8), synapses=4),
    Case("blocks of synapses", images=3, channels=64, outputs=50, size=(17, 19), stride=(2, 2), synapses=25),
    Case("depthwise in blocks", images=3, channels=500, outputs=500, size=(6, 6), groups=500),
)


def in_layout(tensor: Tensor, layout: str) -> Tensor:
    """The same numbers in one of `LAYOUTS`; what lies between strided ones is NaN, so that reading it shows."""
    if layout == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "contiguous":
        return tensor.contiguous()
    images, channels, height, width = tensor.shape
    around = tensor.new_full((images, channels + 1, 2 * height, width + 3), float("nan"))
    return around[:, 1:, ::2, 2:-1].copy_(tensor)


def run(case: Case, tensors: Tensors) -> Results:
    """Output and all gradients by the operator."""
    leaves = tuple(tensor.detach().requires_grad_() for tensor in tensors[:4])
    input, weight, positions, bias = leaves
    output = functional.active_conv2d(input, weight, positions, bias, *case.settings)
    return Results(output.detach(), *torch.autograd.grad(output, leaves, tensors.grad_output))


def right(case: Case, tensors: Tensors) -> Results:
    """Output and all gradients by the reference in float64."""
    leaves = tuple(tensor.detach().double().requires_grad_() for tensor in tensors[:4])
    input, weight, positions, bias = leaves
    output = active_conv2d_reference(input, weight, positions, bias, *case.settings)
    return Results(output.detach(), *torch.autograd.grad(output, leaves, tensors.grad_output.double()))


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.device.type == device.type:
        return tensor
    # A plain copy would close the gaps of a strided view.
    memory = torch.as_strided(tensor, (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
    return torch.as_strided(memory.to(device), tensor.shape, tensor.stride(), tensor.storage_offset())
