"""PyTorch's switches are set both ways for a while, and are afterwards as whoever calls had them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import backends

from acu_core.learn.backend_flags import float32_products


def state() -> dict[str, Any]:
    """Every way in which the switches can be read; what raises is read as None."""
    ways: dict[str, Callable[[], Any]] = {
        "matmul word": torch.get_float32_matmul_precision,
        "older matmul": lambda: backends.cuda.matmul.allow_tf32,
        "older cudnn": lambda: backends.cudnn.allow_tf32,
        "matmul": lambda: backends.cuda.matmul.fp32_precision,
        "conv": lambda: backends.cudnn.conv.fp32_precision,
        "rnn": lambda: backends.cudnn.rnn.fp32_precision,
        "cpu matmul": lambda: backends.mkldnn.matmul.fp32_precision,
        "cpu conv": lambda: backends.mkldnn.conv.fp32_precision,
        "bfloat16 sums": torch._C._get_cublas_allow_bf16_reduced_precision_reduction,
        "float16 sums": torch._C._get_cublas_allow_fp16_reduced_precision_reduction,
        "float16 accumulation": lambda: backends.cuda.matmul.allow_fp16_accumulation,
    }
    found = {}
    for name, read in ways.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = None
    return found


@pytest.fixture(autouse=True)
def _as_at_the_start() -> Iterator[None]:
    before = state()
    yield
    torch.set_float32_matmul_precision(before["matmul word"])
    backends.cudnn.allow_tf32 = before["older cudnn"]
    for name, operation in {"matmul": ("cuda", "matmul"), "conv": ("cuda", "conv"), "rnn": ("cuda", "rnn")}.items():
        torch._C._set_fp32_precision_setter(*operation, before[name])
    for name, operation in {"cpu matmul": ("mkldnn", "matmul"), "cpu conv": ("mkldnn", "conv")}.items():
        torch._C._set_fp32_precision_setter(*operation, before[name])
    backends.cuda.matmul.allow_bf16_reduced_precision_reduction = before["bfloat16 sums"]
    backends.cuda.matmul.allow_fp16_reduced_precision_reduction = before["float16 sums"]
    backends.cuda.matmul.allow_fp16_accumulation = before["float16 accumulation"]
    assert state() == before


def _nothing() -> None:
    pass


def _older() -> None:
    backends.cuda.matmul.allow_tf32 = True
    backends.cudnn.allow_tf32 = False


def _medium() -> None:
    torch.set_float32_matmul_precision("medium")


def _newer() -> None:
    backends.cuda.matmul.fp32_precision = "tf32"
    backends.cudnn.conv.fp32_precision = "ieee"


def _both_apart() -> None:
    torch.set_float32_matmul_precision("high")
    backends.cudnn.allow_tf32 = True
    backends.cuda.matmul.fp32_precision = "ieee"
    backends.cudnn.conv.fp32_precision = "ieee"
    backends.cudnn.rnn.fp32_precision = "ieee"


def _sums() -> None:
    backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True
    backends.cuda.matmul.allow_fp16_accumulation = True


@pytest.mark.parametrize("kind", ["ieee", "tf32"])
@pytest.mark.parametrize("arrange", [_nothing, _older, _medium, _newer, _both_apart, _sums])
def test_one_policy_and_what_was_set_is_set_again(arrange: Callable[[], None], kind: str) -> None:
    arrange()
    before = state()
    inside = {}

    def fail_inside() -> None:
        with float32_products(kind):  # type: ignore[arg-type]
            inside.update(state())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert inside["matmul"] == inside["conv"] == inside["rnn"] == kind
    # The older way can be read, and says the same: PyTorch's compiler reads it.
    assert inside["matmul word"] == {"ieee": "highest", "tf32": "high"}[kind]
    assert inside["older matmul"] == inside["older cudnn"] == (kind == "tf32")
    assert not backends_allow_16_bit_sums(inside)
    assert state() == before


def backends_allow_16_bit_sums(found: dict[str, Any]) -> bool:
    sums = [found["bfloat16 sums"], found["float16 sums"]]
    # A pair in later versions: whether sums may be of 16 bits, and whether they may be split.
    return any(one[0] if isinstance(one, tuple) else one for one in sums) or found["float16 accumulation"]


def test_what_two_ways_say_apart_is_kept_apart() -> None:
    _both_apart()
    assert state()["older cudnn"] is None, "PyTorch can read this now: look for another state that it cannot"
    with float32_products("ieee"):
        pass
    # What the older way was set to is there again: it can be read beside what goes with it.
    backends.cudnn.conv.fp32_precision = backends.cudnn.rnn.fp32_precision = "tf32"
    backends.cuda.matmul.fp32_precision = "tf32"
    assert state()["older cudnn"] is True
    assert state()["matmul word"] == "high"
