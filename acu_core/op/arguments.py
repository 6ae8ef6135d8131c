"""What the operator's arguments may be, said once for the compiled operator and for its reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from acu_core.op.paddings import Paddings

Pair = int | Sequence[int]
Padding = int | Sequence[int]

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Arguments(NamedTuple):
    """Checked arguments: stride (h, w) and paddings, in pixels."""

    stride: tuple[int, int]
    padding: Paddings
    groups: int


def _integers(name: str, value: int | Sequence[int], lengths: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    values = tuple(value) if isinstance(value, Sequence) else ()
    if len(values) not in lengths or not all(isinstance(v, (int, torch.SymInt)) for v in values):
        allowed = " or ".join(str(n) for n in lengths)
        raise ValueError(f"{name} must be an int or {allowed} ints, not {value!r}")
    return values


def stride_pair(stride: Pair) -> tuple[int, int]:
    """(h, w) from an int or a pair. Raises ValueError unless both are positive."""
    values = _integers("stride", stride, (2,))
    h, w = values[0], values[-1]
    if h < 1 or w < 1:
        raise ValueError(f"stride must be positive, not {stride!r}")
    return h, w


def four_paddings(padding: Padding) -> Paddings:
    """Paddings from an int, (h, w) or (top, bottom, left, right); each may be negative."""
    values = _integers("padding", padding, (2, 4))
    if len(values) == 4:
        return Paddings(*values)
    h, w = values[0], values[-1]
    return Paddings(top=h, bottom=h, left=w, right=w)


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(str(size) for size in tensor.shape) + ")"


def check_arguments(
    input: Tensor,
    weight: Tensor,
    positions: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Padding,
    groups: int,
) -> Arguments:
    """Checks shapes, dtypes and devices as `active_conv2d` documents them.

    Raises:
        ValueError: a shape, stride, padding or device is wrong; the message names the argument and its shape.
        TypeError: a dtype is wrong; likewise.
    """
    if input.dim() != 4:
        raise ValueError(f"input must be (N, C, H, W), not {_shape(input)}")
    if weight.dim() != 3:
        raise ValueError(f"weight must be (O, C/groups, K), not {_shape(weight)}")
    if positions.dim() != 3 or positions.shape[2] != 2:
        raise ValueError(f"positions must be (G, K, 2), not {_shape(positions)}")
    if input.dtype not in FLOATING:
        raise TypeError(f"input {_shape(input)} must be float16, bfloat16, float32 or float64, not {input.dtype}")
    if weight.dtype != input.dtype:
        raise TypeError(f"weight {_shape(weight)} must have the dtype of input, {input.dtype}, not {weight.dtype}")
    if positions.dtype != torch.float32 and not (positions.dtype == torch.float64 == input.dtype):
        raise TypeError(
            f"positions {_shape(positions)} must be float32 (or float64 with float64 input), not {positions.dtype}"
        )
    channels, height, width = input.shape[1:]
    out_channels, channels_per_group, synapses = weight.shape
    if channels < 1 or height < 1 or width < 1:
        raise ValueError(f"input {_shape(input)} has no pixels")
    if out_channels < 1 or synapses < 1:
        raise ValueError(f"weight {_shape(weight)} is empty")
    if groups < 1 or channels % groups or out_channels % groups:
        raise ValueError(
            f"groups = {groups} must divide the {channels} channels of input {_shape(input)} and the "
            f"{out_channels} of weight {_shape(weight)}"
        )
    if channels_per_group != channels // groups:
        raise ValueError(
            f"weight {_shape(weight)} must have {channels // groups} input channels for input {_shape(input)} "
            f"with groups = {groups}"
        )
    if positions.shape[1] != synapses:
        raise ValueError(f"positions {_shape(positions)} must have the {synapses} synapses of weight {_shape(weight)}")
    if positions.shape[0] < 1 or out_channels % positions.shape[0]:
        raise ValueError(
            f"the position groups of positions {_shape(positions)} must divide the {out_channels} output channels of "
            f"weight {_shape(weight)}"
        )
    if bias is not None:
        if bias.dim() != 1 or bias.shape[0] != out_channels:
            raise ValueError(f"bias must be ({out_channels},), not {_shape(bias)}")
        if bias.dtype != input.dtype:
            raise TypeError(f"bias {_shape(bias)} must have the dtype of input, {input.dtype}, not {bias.dtype}")
    for name, tensor in (("weight", weight), ("positions", positions), ("bias", bias)):
        if tensor is not None and tensor.device != input.device:
            raise ValueError(f"{name} {_shape(tensor)} must be on {input.device} like input, not on {tensor.device}")
    arguments = Arguments(stride_pair(stride), four_paddings(padding), groups)
    out_height, out_width = output_size((height, width), arguments)
    if out_height < 1 or out_width < 1:
        raise ValueError(
            f"input {_shape(input)} is too small: with stride {arguments.stride} and padding (top, bottom, left, "
            f"right) {tuple(arguments.padding)} the output would be {out_height} x {out_width}"
        )
    return arguments


def output_size(size: tuple[int, int], arguments: Arguments) -> tuple[int, int]:
    """Output (H, W) for input (H, W): floor((H + top + bottom - 1) / s) + 1, that of a 1x1 convolution."""
    (stride_h, stride_w), padding = arguments.stride, arguments.padding
    return (
        (size[0] + padding.top + padding.bottom - 1) // stride_h + 1,
        (size[1] + padding.left + padding.right - 1) // stride_w + 1,
    )
