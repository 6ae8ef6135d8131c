"""The shapes in which the fused CUDA kernels are compared with plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor

from acu_core.op.paddings import Paddings

NO_PADDING = Paddings(0, 0, 0, 0)
GRID = tuple((float(y), float(x)) for y in (-1, 0, 1) for x in (-1, 0, 1))


@dataclass(frozen=True)
class Case:
    """A shape of the operator. Synapses without a position are drawn, some of them on the grid."""

    images: int = 1
    channels: int = 8
    outputs: int = 8
    size: tuple[int, int] = (6, 7)
    synapses: int = 4
    stride: tuple[int, int] = (1, 1)
    padding: Paddings = NO_PADDING
    groups: int = 1
    position_groups: int = 1
    positions: tuple[tuple[float, float], ...] = field(default=())

    def draw(self, dtype: torch.dtype) -> SimpleNamespace:
        """Random arguments with the numbers of dtype, and a gradient of the output."""
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        positions = 1.5 * normal(self.position_groups, self.synapses, 2)
        positions[:, ::3] = positions[:, ::3].round()
        for synapse, position in enumerate(self.positions):
            positions[:, synapse] = torch.tensor(position)
        top, bottom, left, right = self.padding
        height = (self.size[0] + top + bottom - 1) // self.stride[0] + 1
        width = (self.size[1] + left + right - 1) // self.stride[1] + 1
        return SimpleNamespace(
            input=normal(self.images, self.channels, *self.size).to(dtype),
            weight=normal(self.outputs, self.channels // self.groups, self.synapses).to(dtype),
            positions=positions,
            bias=normal(self.outputs).to(dtype),
            grad_output=normal(self.images, self.outputs, height, width).to(dtype),
        )

    @property
    def numbers(self) -> tuple[tuple[int, int], Paddings, int]:
        """Strides, paddings and groups in the order of the schema."""
        return self.stride, self.padding, self.groups


CASES = {
    "3x3 on the grid": Case(images=2, synapses=9, positions=GRID),
    "odd channels": Case(images=2, channels=19, outputs=11, padding=Paddings(top=1, bottom=2, left=0, right=1)),
    "several chunks of channels": Case(channels=40, outputs=8, synapses=9),
    "several fragments": Case(channels=8, outputs=48, synapses=9),
    "ninety-six outputs": Case(channels=96, outputs=72, size=(3, 3), synapses=2),
    "two hundred outputs": Case(channels=8, outputs=200, size=(3, 3), synapses=2),
    "one synapse, one pixel": Case(size=(1, 1), synapses=1, positions=((0.25, -0.5),)),
    "many images of one pixel": Case(images=33, size=(1, 1), synapses=3),
    "many small images": Case(images=17, size=(4, 3)),
    "a row": Case(size=(1, 37), padding=Paddings(top=1, bottom=1, left=3, right=0)),
    "a column": Case(size=(29, 1)),
    "several tiles": Case(size=(19, 33)),
    "negative padding": Case(size=(11, 9), padding=Paddings(top=-2, bottom=1, left=1, right=-1)),
    "stride 2": Case(images=2, size=(11, 9), synapses=9, stride=(2, 2), padding=Paddings(1, 0, 0, 1)),
    "strides 3 and 1": Case(size=(20, 18), stride=(3, 1), padding=Paddings(top=-2, bottom=1, left=1, right=-1)),
    "groups": Case(channels=24, outputs=24, groups=3),
    "position groups": Case(channels=8, outputs=32, position_groups=4),
    "groups within position groups": Case(channels=32, outputs=32, groups=4, position_groups=2, synapses=2),
    "groups across position groups": Case(channels=16, outputs=48, groups=2, position_groups=3),
    "far outside": Case(positions=((1e30, 0.5), (-1e30, 2.0e9), (40.25, -3.0e9), (0.5, 0.5))),
    "nothing seen": Case(positions=((90.5, 0.0), (0.0, 90.0), (-90.5, 3.0), (1.0, -90.0))),
    "far apart": Case(size=(24, 24), positions=((-14.5, -15.0), (14.25, 15.5), (-13.0, 14.5), (13.5, -16.0))),
    "next to the grid": Case(positions=((1e-7, -1e-7), (0.9999999, 1.0000001), (-1e-30, 1e-30))),
    "more cells than a block holds": Case(size=(9, 9), synapses=16),
    "a 5x5 unit": Case(size=(9, 9), synapses=25),
}
