"""For each function that a network may call, a linear one without negative coefficients that dominates its gradient.

`dominating(function)` takes what the function takes and returns what it returns. Where the function's derivative of an
output by an input is d, that of the dominating one is at least |d|, whatever the image. So the gradient of the whole
network, which is a sum of products of such derivatives, is dominated too. What an argument is, `requires_grad` tells:
whatever depends on the image has it, and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

Function = Callable[..., Any]


class NotDominatedError(Exception):
    """A function has no bound that holds for every image, or none that is known here; the text follows its caller."""


def depends_on_image(value: object) -> bool:
    """Whether `value` is a tensor that depends on the image."""
    return isinstance(value, Tensor) and value.requires_grad


def function_name(function: Function) -> str:
    """The name of PyTorch's function, whether it is called as one, as a method or as an operator, in place or not."""
    return str(getattr(function, "__name__", function)).strip("_")


def dominating(function: Function) -> Function:
    """The function to call in the place of `function`. Raises NotDominatedError where there is none."""
    name = function_name(function)
    # `float(x)` is a number, `x.float()` a cast.
    number = name in _CASTS and str(getattr(function, "__name__", "")).startswith("__")
    found = None if number else _FUNCTIONS.get(name)
    namespace = str(getattr(function, "_qualified_op_name", "aten::")).partition("::")[0]
    if found is None or namespace not in ("aten", "acu"):
        reason = _REASONS.get(name, "for which no bound is known here")
        raise NotDominatedError(f"calls {name}, {reason}")
    known = inspect.signature(found)

    def call(*args: Any, **options: Any) -> Any:
        if not args and "input" in options:
            args = (options.pop("input"),)
        try:
            known.bind(function, *args, **options)
        except TypeError as error:
            raise NotDominatedError(f"calls {name} with arguments that are not known here") from error
        return found(function, *args, **options)

    return call


def _constant(value: Any, name: str) -> Any:
    if any(depends_on_image(leaf) for leaf in tree_leaves(value)):
        raise NotDominatedError(f"calls {name} with parameters that depend on the image")
    return value


def _absolute(value: Any, like: torch.dtype) -> Any:
    if isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex()):
        raise NotDominatedError("calls a product with complex numbers, for which no bound is known here")
    if isinstance(value, Tensor):
        return value if value.requires_grad else value.detach().to(like).abs()
    # NumPy's numbers too.
    return abs(value) if hasattr(value, "__abs__") else value


def _precision(*values: Any) -> torch.dtype:
    dtype: torch.dtype = next(leaf.dtype for leaf in tree_leaves(values) if depends_on_image(leaf))
    return dtype


def _in_place(function: Function, options: Mapping[str, Any]) -> bool:
    name = getattr(function, "__name__", "")
    return bool(options.get("inplace")) or (name.endswith("_") and not name.endswith("__"))


def _as_it_is(function: Function, *args: Any, **options: Any) -> Any:
    """Linear, and no coefficient is negative."""
    return function(*args, **options)


def _unchanged(function: Function, tensor: Tensor, *args: Any, **options: Any) -> Tensor:
    """A change of dtype, device or layout: everything stays in the precision that the bound needs."""
    for leaf in tree_leaves((args, options)):
        dtype = leaf.dtype if isinstance(leaf, Tensor) else leaf
        if isinstance(dtype, torch.dtype) and not dtype.is_floating_point:
            raise NotDominatedError(f"casts to {dtype}, which has no gradient")
    # A view may be taken of it where one could be of the real one.
    return tensor.clone(memory_format=torch.contiguous_format)


def _reshaped(function: Function, tensor: Tensor, *shape: Any) -> Tensor:
    """A view, also where the dominating functions lay their results out otherwise than the real ones."""
    if any(isinstance(size, torch.dtype) for size in shape):
        raise NotDominatedError("views the numbers of a map as those of another dtype")
    return tensor.reshape(*shape)


def _constant_like(function: Function, tensor: Any, *args: Any, **options: Any) -> Any:
    """A constant that has its shape or dtype from a map, but none of its values."""
    _constant((args, options), function_name(function))
    return function(tensor, *args, **options)


_FACTORS = ("input", "weight", "other", "mat2")


def _product(function: Function, *args: Any, **options: Any) -> Any:
    """Linear in each of the first two: the one that does not depend on the image is replaced by its absolute value."""
    name = function_name(function)
    factors = [*args[:2], *(options[key] for key in _FACTORS if key in options)]
    if all(depends_on_image(factor) for factor in factors):
        raise NotDominatedError(f"calls {name} on two maps that both depend on the image, which no bound holds for")
    if _in_place(function, options) and not depends_on_image(args[0]):
        raise NotDominatedError(f"changes a constant in place by {name}")
    if name == "active_conv2d":
        _constant(args[2:], name)
    precision = _precision(args, options)

    def cast(value: Any) -> Any:
        return value.to(precision) if isinstance(value, Tensor) and value.is_floating_point() else value

    given = [_absolute(factor, precision) for factor in args[:2]] + tree_map(cast, list(args[2:]))
    named = {key: _absolute(value, precision) if key in _FACTORS else cast(value) for key, value in options.items()}
    return function(*given, **named)


def _quotient(function: Function, dividend: Any, other: Any, **options: Any) -> Any:
    if options.get("rounding_mode") is not None:
        raise NotDominatedError("divides and rounds, which has no gradient")
    _constant(other, "a division")
    return function(dividend, _absolute(other, _precision(dividend)), **options)


def _sum_of_two(function: Function, first: Any, other: Any, *, alpha: float = 1, **options: Any) -> Any:
    """Of a sum or a difference: `alpha` times the second, of `rsub` the first."""
    if function_name(function) == "rsub":
        first, other = other, first
    if _in_place(function, options):
        return first.add_(other, alpha=abs(alpha))
    return torch.add(torch.as_tensor(first, dtype=_precision(first, other)), other, alpha=abs(alpha))


def _negative(function: Function, tensor: Tensor, **options: Any) -> Tensor:
    return tensor if _in_place(function, options) else tensor.clone()


def _average(
    function: Function,
    tensor: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    divisor = {} if divisor_override is None else {"divisor_override": abs(divisor_override)}
    return function(tensor, kernel_size, stride, padding, ceil_mode, count_include_pad, **divisor)


def _batch_norm(
    function: Function,
    tensor: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """|scale| / sqrt(variance + eps), without the shift."""
    if function is not functional.batch_norm:
        raise NotDominatedError("calls torch.batch_norm itself, not that of torch.nn.functional, which is known here")
    if training or running_var is None:
        raise NotDominatedError("normalises by the statistics of the batch itself, so no bound holds for every image")
    _constant((running_mean, running_var, weight, bias), "batch_norm")
    scale = torch.rsqrt(running_var.to(tensor.dtype) + eps)
    if weight is not None:
        scale = scale * weight.abs()
    return tensor * scale.view(1, -1, *(1 for _ in tensor.shape[2:]))


def _max_pool2d(
    function: Function,
    tensor: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The sum over each window: whichever of its pixels is the largest, it is one of them."""
    if return_indices:
        raise NotDominatedError("calls max_pool2d for the places of the maxima, which have no gradient")
    with torch.no_grad():
        rows, columns = functional.max_pool2d(tensor, kernel_size, stride, padding, dilation, ceil_mode).shape[-2:]
    window, gap, border = _pair(kernel_size), _pair(dilation), _pair(padding)
    step = _pair(stride) if stride else window
    # Rounded up, the last windows may reach beyond the border.
    behind = [
        max(0, (count - 1) * step[axis] + gap[axis] * (window[axis] - 1) + 1 - size - border[axis])
        for axis, (count, size) in enumerate(zip((rows, columns), tensor.shape[-2:], strict=True))
    ]
    padded = functional.pad(tensor, (border[1], behind[1], border[0], behind[0]))
    images = padded.reshape(-1, 1, *padded.shape[-2:])
    summed = functional.conv2d(images, torch.ones(1, 1, *window, dtype=tensor.dtype), stride=step, dilation=gap)
    return summed[..., :rows, :columns].reshape(*tensor.shape[:-2], rows, columns)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _slope(largest: float | Callable[..., float]) -> Function:
    """An elementwise function by the largest absolute value of its derivative."""

    def dominated(function: Function, tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        _constant((args, options), function_name(function))
        inplace = _in_place(function, options) or any(argument is True for argument in args)
        parameters = {key: value for key, value in options.items() if key != "inplace"}
        steepest = largest(*args, **parameters) if callable(largest) else largest
        if steepest == 1:
            # What the network then changes in place is not what it had before.
            return tensor if inplace else tensor.clone()
        return tensor.mul_(steepest) if inplace else tensor * steepest

    return dominated


def _celu(alpha: float = 1.0, *_: Any) -> float:
    if alpha < 0:
        raise NotDominatedError("calls celu with a negative alpha, whose slope has no bound")
    return 1


def _elu(alpha: float = 1.0, *others: Any, **scales: Any) -> float:
    # Only whether it works in place.
    if scales or any(not isinstance(other, bool) for other in others):
        raise NotDominatedError("calls elu with scales, for which no bound is known here")
    return max(1.0, abs(alpha))


def _prelu(function: Function, tensor: Tensor, weight: Tensor) -> Tensor:
    steepest = _constant(weight, "prelu").abs().clamp(min=1).to(tensor.dtype)
    if len(steepest) > 1:
        steepest = steepest.view(1, -1, *(1 for _ in tensor.shape[2:]))
    scaled: Tensor = tensor * steepest
    return scaled


def _dropout(
    function: Function, tensor: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    if training and p:
        raise NotDominatedError(f"calls {function_name(function)} in evaluation mode too, so its gradient is random")
    return tensor


def _interpolate(function: Function, tensor: Tensor, *args: Any, **options: Any) -> Any:
    mode = args[2] if len(args) > 2 else options.get("mode", "nearest")
    if mode == "bicubic":
        raise NotDominatedError("calls interpolate with the mode bicubic, which has negative coefficients")
    return function(tensor, *args, **options)


_METADATA = """size dim numel nelement ndimension stride storage_offset is_contiguous is_floating_point is_complex
    element_size get_device len get"""
_CONSTANTS = "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor"
_LINEAR = """
    view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze expand expand_as repeat tile
    repeat_interleave permute transpose swapaxes swapdims t movedim moveaxis flip roll rot90
    getitem setitem copy narrow select index_select take_along_dim chunk split split_with_sizes tensor_split unbind
    cat concat concatenate stack hstack vstack dstack clone pad constant_pad_nd
    mean sum adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle unfold fold
"""
_CASTS = frozenset(["to", "float", "double", "half", "bfloat16", "type_as", "contiguous", "cpu", "cuda"])
_PRODUCTS = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm bmm mul multiply
    active_conv2d
"""
_AT_MOST_ONE = """
    relu relu6 hardtanh clamp clip clamp_min clamp_max threshold tanh softplus logsigmoid log_sigmoid softsign
    tanhshrink abs absolute
"""
_FUNCTIONS: dict[str, Function] = {
    **dict.fromkeys(f"{_METADATA} {_LINEAR}".split(), _as_it_is),
    **dict.fromkeys(_CONSTANTS.split(), _constant_like),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _average),
    **dict.fromkeys(_CASTS, _unchanged),
    "view": _reshaped,
    **dict.fromkeys(_PRODUCTS.split(), _product),
    **dict.fromkeys(("div", "divide", "true_divide"), _quotient),
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), _sum_of_two),
    **dict.fromkeys(("neg", "negative"), _negative),
    "batch_norm": _batch_norm,
    "max_pool2d": _max_pool2d,
    "interpolate": _interpolate,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), _dropout),
    "prelu": _prelu,
    **dict.fromkeys(_AT_MOST_ONE.split(), _slope(1)),
    "leaky_relu": _slope(lambda negative_slope=0.01, *_: max(1.0, abs(negative_slope))),
    "elu": _slope(_elu),
    "celu": _slope(_celu),
    "selu": _slope(1.7581),
    "sigmoid": _slope(0.25),
    # A sixth; PyTorch's own is one of float32.
    "hardsigmoid": _slope(0.16667),
    "hardswish": _slope(1.5),
    "silu": _slope(1.0999),
    "mish": _slope(1.0885),
    "gelu": _slope(1.1290),
}
CONSTANT_NAMES = frozenset(_CONSTANTS.split())
"""Functions whose result is a constant although they are given a tensor that depends on the image."""
MAYBE_COPIES = _CASTS | {"view", "reshape", "reshape_as", "flatten", "ravel"}
"""Functions whose result may be a copy of what they are given or not, by its layout and dtype."""

_OWN_STATISTICS = "which divides by the image's own statistics, so no bound holds for every image"
_REASONS = {
    **dict.fromkeys(
        ("layer_norm", "group_norm", "instance_norm", "local_response_norm", "normalize", "rms_norm", "std", "var"),
        _OWN_STATISTICS,
    ),
    **dict.fromkeys(
        ("softmax", "scaled_dot_product_attention", "multi_head_attention_forward"),
        "which weighs one part of the image by another, so no bound is known here",
    ),
}
