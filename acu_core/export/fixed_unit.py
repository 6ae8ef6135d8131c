"""An active layer that moves no more, as numbers: what its forms are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.nn.shapes import initial_positions
from acu_core.op.paddings import Paddings


@dataclass(frozen=True)
class FixedUnit:
    """What an active layer computes.

    Shapes:
        weight: (O, C/groups, K), float64: what is made of it is rounded once, to `dtype`.
        positions: (G, K, 2), (y, x) in pixels, float64.
        bias: (O,), in `dtype`, or None.
    """

    weight: Tensor
    positions: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    paddings: Paddings
    groups: int
    dtype: torch.dtype

    @classmethod
    def of(cls, layer: ActiveConv2d) -> FixedUnit:
        """The layer as it is now. Raises ValueError as `ActiveConv2d.values_at_rest` does."""
        weight, positions = layer.values_at_rest()
        bias = None if layer.bias is None else layer.bias.detach().cpu()
        stride = (layer.stride[0], layer.stride[1])
        return cls(weight.cpu().double(), positions, bias, stride, layer.paddings, layer.groups, weight.dtype)

    @classmethod
    def ordinary(cls, layer: ActiveConv2d) -> FixedUnit:
        """The convolution that the layer stands in place of: its weights on the grid on which the synapses start."""
        grid = initial_positions("square", layer.position_groups, layer.kernel_size, layer.dilation)
        return replace(cls.of(layer), positions=grid[:1].double())

    @property
    def channels(self) -> int:
        """C."""
        return self.weight.shape[1] * self.groups

    @property
    def outputs(self) -> int:
        """O."""
        return self.weight.shape[0]

    @property
    def synapses(self) -> int:
        """K."""
        return self.weight.shape[2]

    def only(self, synapses: list[int]) -> FixedUnit:
        """The part of it that these synapses are, without the bias."""
        return replace(self, weight=self.weight[:, :, synapses], positions=self.positions[:, synapses], bias=None)

    def position_group(self, group: int) -> FixedUnit:
        """The outputs of one position group, as a unit; all channels go into it."""
        count = self.outputs // len(self.positions)
        mine = slice(group * count, (group + 1) * count)
        bias = None if self.bias is None else self.bias[mine]
        return replace(self, weight=self.weight[mine], positions=self.positions[group : group + 1], bias=bias)

    def merged(self) -> FixedUnit:
        """The same unit with one synapse in place of several that lie at one place in every group."""
        places, index = torch.unique(self.positions.transpose(0, 1).flatten(1), dim=0, return_inverse=True)
        if len(places) == self.synapses:
            return self
        weight = self.weight.new_zeros(*self.weight.shape[:2], len(places)).index_add_(2, index, self.weight)
        positions = places.unflatten(1, (-1, 2)).transpose(0, 1).contiguous()
        return replace(self, weight=weight, positions=positions)


def filled_convolution(
    kernel: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    rows: tuple[int, int] = (0, 0),
    columns: tuple[int, int] = (0, 0),
) -> nn.Module:
    """The convolution of a kernel (O, C/groups, rows, columns), which is rounded to `dtype`.

    `rows` and `columns` are the padding in front and behind, in pixels, and crop where they are negative: an image is
    padded or cropped before the convolution where it cannot do that itself.
    """
    outputs, channels, height, width = kernel.shape
    alike = rows[0] == rows[1] >= 0 and columns[0] == columns[1] >= 0
    conv = nn.Conv2d(
        channels * groups,
        outputs,
        (height, width),
        stride,
        (rows[0], columns[0]) if alike else 0,
        dilation,
        groups,
        bias is not None,
        dtype=dtype,
    ).eval()
    with torch.no_grad():
        conv.weight.copy_(kernel.to(dtype))
        if bias is not None and conv.bias is not None:
            conv.bias.copy_(bias)
    if alike:
        return conv
    sides = (*columns, *rows)
    added = tuple(max(side, 0) for side in sides)
    cropped = tuple(min(side, 0) for side in sides)
    # A crop may be larger than the image; than the image with what is added it is not.
    pads = [added, cropped] if any(added) and any(cropped) else [sides]
    return nn.Sequential(*(nn.ZeroPad2d((left, right, top, bottom)) for left, right, top, bottom in pads), conv)
