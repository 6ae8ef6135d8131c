"""What the compiled operators need from Python: fake kernels (shapes without numbers) and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from acu_core.op.arguments import Arguments, output_size
from acu_core.op.cuda_kernels import KERNELS
from acu_core.op.paddings import Paddings


def _empty(like: Tensor, size: tuple[int, ...], channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=layout)


def _fake_forward(
    input: Tensor,
    weight: Tensor,
    positions: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    arguments = Arguments((stride[0], stride[1]), Paddings(*padding), groups)
    height, width = output_size((input.shape[2], input.shape[3]), arguments)
    return _empty(input, (input.shape[0], weight.shape[0], height, width), channels_last)


def _fake_backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    positions: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    channels_last: bool,
    need_input: bool,
    need_weight: bool,
    need_positions: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def gradient(needed: bool, like: Tensor, size: tuple[int, ...]) -> Tensor:
        return like.new_empty(size if needed else (0,))

    return (
        _empty(input, tuple(input.shape), channels_last) if need_input else input.new_empty((0,)),
        gradient(need_weight, weight, tuple(weight.shape)),
        gradient(need_positions, positions, tuple(positions.shape)),
        gradient(need_bias, weight, (weight.shape[0],)),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weight, positions, _, *settings = inputs
    ctx.save_for_backward(input, weight, positions)
    ctx.settings = settings


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    input, weight, positions = ctx.saved_tensors
    needs = ctx.needs_input_grad[:4]
    if input.is_cuda:
        KERNELS.before_backward(grad_output, (input, weight, positions, *ctx.settings), needs)
    gradients = torch.ops.acu.active_conv2d_backward(grad_output, input, weight, positions, *ctx.settings, *needs)
    wanted = tuple(gradient if needed else None for gradient, needed in zip(gradients, needs, strict=True))
    return (*wanted, *(None for _ in ctx.settings))


def _no_second_derivative(ctx: Any, *gradients: Tensor) -> None:
    # Without a formula here, create_graph=True would give a wrong answer without a word.
    raise NotImplementedError(
        "active_conv2d has no second derivative: its backward cannot be differentiated (use active_conv2d_reference)"
    )


def register() -> None:
    """Registers the fake kernels and the gradients; called once, after the libraries are loaded."""
    torch.library.register_fake("acu::active_conv2d", _fake_forward)
    torch.library.register_fake("acu::active_conv2d_backward", _fake_backward)
    torch.library.register_autograd("acu::active_conv2d", _backward, setup_context=_setup_context)
    torch.library.register_autograd("acu::active_conv2d_backward", _no_second_derivative)
