"""Which CUDA kernels a call takes: a setting that is read at every call. Needs the compiled kernels, but no GPU."""

from __future__ import annotations

import pytest
import torch

from acu_core.learn.backend_flags import float32_products
from acu_core.op import library

pytestmark = pytest.mark.skipif(not library.has_kernel("cuda"), reason="the CUDA kernels were not built")


def supports(dtype: torch.dtype, channels: int = 16, outputs: int = 16, groups: int = 1) -> bool:
    positions = torch.empty(1, 9, 2, device="meta")
    image = torch.empty(2, channels, 8, 8, dtype=dtype, device="meta")
    weight = torch.empty(outputs, channels // groups, 9, dtype=dtype, device="meta")
    answer: bool = torch.ops.acu.cuda_fused_supports(image, weight, positions, (1, 1), (0, 0, 0, 0), groups)
    return answer


def test_by_call_unless_the_kernels_are_named() -> None:
    assert library.cuda_kernels() == (library.wanted_cuda_kernels() or "auto")
    for name in ("fused", "columns"):
        with library.with_cuda_kernels(name):
            assert library.cuda_kernels() == name
    assert library.cuda_kernels() == (library.wanted_cuda_kernels() or "auto")


@pytest.mark.parametrize("choice", [-1, 3])
def test_there_are_no_others(choice: int) -> None:
    before = library.cuda_kernels()
    with pytest.raises(RuntimeError, match="0 stands for columns"):
        torch.ops.acu.set_cuda_kernels(choice)
    assert library.cuda_kernels() == before


def test_what_is_forced_or_chosen_is_one_of_the_two() -> None:
    call = torch.empty(2, 16, 8, 8), torch.empty(16, 16, 9), torch.empty(1, 9, 2), (1, 1), (0, 0, 0, 0), 1, False, -1
    with pytest.raises(RuntimeError, match="0 stands for columns"):
        torch.ops.acu.choose_cuda_kernels(*call, 2)
    torch.ops.acu.choose_cuda_kernels(*call, 1)
    torch.ops.acu.forget_cuda_kernels()
    with pytest.raises(RuntimeError, match="0 stands for columns"):
        torch.ops.acu.force_cuda_kernels(2)
    assert torch.ops.acu.force_cuda_kernels(1) == -1
    assert torch.ops.acu.force_cuda_kernels(-1) == 1


def test_what_the_fused_kernels_take() -> None:
    assert supports(torch.float16)
    assert supports(torch.bfloat16)
    assert not supports(torch.float16, channels=4)
    assert not supports(torch.float16, groups=16)


def test_float32_only_where_it_may_be_tf32() -> None:
    assert not supports(torch.float32)
    with float32_products("tf32"):
        assert supports(torch.float32)
        with float32_products("ieee"):
            assert not supports(torch.float32)
        assert supports(torch.float32)
    assert not supports(torch.float32)
