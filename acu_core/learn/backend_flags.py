"""PyTorch's global switches of how float32 products and 16-bit sums are computed: set for a while, then put back.

Two ways lead to the same switches, of which PyTorch is giving up the older (`allow_tf32`, the matmul precision) for the
newer (`fp32_precision`). Reading the older one raises where a program has set them apart, and PyTorch's own compiler
reads it; so here both are set, to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from acu_core.op import library

Float32 = Literal["ieee", "tf32"]
"""How products and convolutions of float32 tensors are computed: in float32, or with mantissas of 10 bits."""

_Operation = tuple[str, str]
_PRODUCTS, _CONVOLUTIONS, _RECURRENT = ("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn")
_CPU_PRODUCTS, _CPU_CONVOLUTIONS = ("mkldnn", "matmul"), ("mkldnn", "conv")
_GPU = (_PRODUCTS, _CONVOLUTIONS, _RECURRENT)
_CPU = (_CPU_PRODUCTS, _CPU_CONVOLUTIONS)
_SUMS = ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")


@dataclass(frozen=True)
class _Flags:
    matmul: str
    """The older way: highest, high or medium."""
    cudnn: bool
    """The older way: whether cuDNN may use TF32."""
    newer: Mapping[_Operation, str]
    sums: Mapping[str, Any]
    fused: bool
    """The operator's own: its fused kernels cannot see PyTorch's."""


@contextmanager
def float32_products(kind: Float32) -> Iterator[None]:
    """One policy for convolutions and for matrix products, the operator's among them; 16-bit sums are not allowed.

    By default PyTorch gives TF32 to cuDNN's convolutions and not to products, so that an ordinary convolution and an
    active one would be computed with different precision; and it lets cuBLAS add up in 16 bits what is of 16 bits, a
    weight's gradient too. On the CPU there is no TF32: both kinds are float32 there.

    What was set before is set again at the end, whichever way it was set.
    """
    before = _get()
    tf32 = kind == "tf32"
    newer = {**dict.fromkeys(_GPU, str(kind)), **dict.fromkeys(_CPU, "ieee")}
    if not tf32:
        word = "highest"
    else:
        # This word of the older way stands for TF32 on the CPU as well, and cannot be read beside another one there.
        word, newer[_CPU_PRODUCTS] = "high", "tf32"
    _set(_Flags(word, tf32, newer, {**dict.fromkeys(_SUMS, False), "allow_fp16_accumulation": False}, tf32))
    try:
        yield
    finally:
        _set(before)


def _get() -> _Flags:
    newer = {operation: _precision(operation) for operation in (*_GPU, *_CPU)}
    older = (
        _older(torch.get_float32_matmul_precision, newer, (_PRODUCTS, _CPU_PRODUCTS)),
        _older(lambda: torch.backends.cudnn.allow_tf32, newer, (_CONVOLUTIONS, _RECURRENT)),
    )
    products = torch.backends.cuda.matmul
    sums: dict[str, Any] = {"allow_fp16_accumulation": products.allow_fp16_accumulation}
    for name in _SUMS:
        # Whether a sum may be split is a second switch of the same name in later versions.
        split = getattr(products, f"{name}_split_k", None)
        sums[name] = getattr(products, name) if split is None else (getattr(products, name), split)
    return _Flags(*older, newer, sums, library.cuda_tf32())


def _set(flags: _Flags) -> None:
    # The older way also sets the newer, so that comes last.
    torch.set_float32_matmul_precision(flags.matmul)
    torch.backends.cudnn.allow_tf32 = flags.cudnn
    for operation, precision in flags.newer.items():
        _set_precision(operation, precision)
    for name, value in flags.sums.items():
        setattr(torch.backends.cuda.matmul, name, value)
    library.allow_cuda_tf32(flags.fused)


def _older(read: Callable[[], Any], newer: Mapping[_Operation, str], beside: tuple[_Operation, _Operation]) -> Any:
    """What the older way says, also where it raises because of what the newer says."""
    try:
        return read()
    except RuntimeError:
        pass
    try:
        # It can be read beside those that go with it.
        for pair in (("ieee", "ieee"), ("tf32", "tf32"), ("tf32", "bf16")):
            for operation, precision in zip(beside, pair, strict=True):
                _set_precision(operation, precision)
            try:
                return read()
            except RuntimeError:
                continue
        raise RuntimeError("PyTorch's precision of float32 products cannot be read")
    finally:
        for operation in beside:
            _set_precision(operation, newer[operation])


# `torch.backends` has no attribute for one of them in some versions, and its own are made of these.
def _precision(operation: _Operation) -> str:
    return str(torch._C._get_fp32_precision_getter(*operation))


def _set_precision(operation: _Operation, precision: str) -> None:
    torch._C._set_fp32_precision_setter(*operation, precision)
