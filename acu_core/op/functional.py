"""The operator as a function of tensors."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from acu_core.op import library, registrations
from acu_core.op.arguments import Padding, Pair, check_arguments
from acu_core.op.cuda_kernels import KERNELS
from acu_core.op.reference import active_conv2d_reference

if library.has_kernel("cpu"):
    registrations.register()

_warned: set[str] = set()


def _warn_once(device_type: str) -> None:
    if device_type not in _warned:
        _warned.add(device_type)
        warnings.warn(
            f"active_conv2d has no compiled kernel for {device_type!r} and runs in plain PyTorch, which is slower; "
            "acu_core.diagnosis.diagnose() says why",
            RuntimeWarning,
            stacklevel=3,
        )


def _autocasts(device_type: str) -> bool:
    # torch 2.10 cannot trace the question whether a device has autocast; of those that compile, only meta lacks it.
    compiling = torch.compiler.is_compiling()
    has_autocast = device_type != "meta" if compiling else torch.amp.is_autocast_available(device_type)
    return has_autocast and torch.is_autocast_enabled(device_type)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As autocast does: floating-point tensors, but not float64."""
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor


def active_conv2d(
    input: Tensor,
    weight: Tensor,
    positions: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> Tensor:
    """A convolution whose K synapses sit at any positions, with gradients for the positions too.

        Y[n,o,i,j] = b[o] + sum_c sum_k W[o,c,k] * X~[n, c, i*s_h - top + dy_k, j*s_w - left + dx_k]

    X~ is bilinear interpolation, zero outside the image (Jeon & Kim, CVPR 2017, equations 3 to 6).

    Args:
        input: (N, C, H, W). The output keeps its layout, contiguous or channels_last.
        weight: (O, C/groups, K), with the dtype of `input`.
        positions: (G, K, 2), the last axis (y, x): displacements from the centre in input pixels, y down, x right;
            float32 (or float64 with float64 input), also when `input` has 16 bits. With G > 1, the output channels
            are split into G equal groups with positions of their own.
        bias: (O,), with the dtype of `input`.
        stride: an int or (h, w), in pixels.
        padding: that of a 1x1 convolution: an int, (h, w) or `Paddings` (top, bottom, left, right), in pixels, each
            possibly negative. A 3x3 unit that keeps the size of the image has padding 0.
        groups: as in `torch.nn.functional.conv2d`.

    Returns:
        (N, O, floor((H + top + bottom - 1) / s_h) + 1, floor((W + left + right - 1) / s_w) + 1). The derivative at an
        integer position is the right-hand one. Under autocast, `input`, `weight` and `bias` are cast; `positions` are
        not.

    Raises:
        ValueError: a shape, device, stride or padding does not fit, or a position is not finite (on the CPU, a
            RuntimeError in a compiled graph; on CUDA it gives NaN).
        TypeError: a dtype does not fit.
        NotImplementedError: a second derivative is asked for.
    """
    device_type = input.device.type
    if _autocasts(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        input, weight = _cast(input, dtype), _cast(weight, dtype)
        bias = None if bias is None else _cast(bias, dtype)
    arguments = check_arguments(input, weight, positions, bias, stride, padding, groups)
    if not library.has_kernel(device_type):
        _warn_once(device_type)
        return active_conv2d_reference(input, weight, positions, bias, stride, padding, groups)
    if input.dtype == torch.float64:
        positions = positions.to(torch.float64)
    channels_last = input.is_contiguous(memory_format=torch.channels_last) and not input.is_contiguous()
    call = (input, weight, positions, bias, arguments.stride, arguments.padding, groups, channels_last)
    output: Tensor
    if torch.compiler.is_compiling():
        output = torch.ops.acu.active_conv2d(*call)
        return output
    if device_type == "cuda":
        KERNELS.before_forward(*call)
    try:
        output = torch.ops.acu.active_conv2d(*call)
    except RuntimeError as error:
        # The kernel has looked, and knows no shape to say. A look before it would be a third of what a call takes.
        if device_type == "cpu" and not bool(torch.isfinite(positions.detach()).all()):
            raise ValueError(f"positions {tuple(positions.shape)} must be finite") from error
        raise
    return output
