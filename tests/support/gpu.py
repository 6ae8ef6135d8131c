"""What marks a test that needs a GPU: `pytest -m gpu` runs these alone; elsewhere they are skipped, with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

from acu_core.op import library

Test = TypeVar("Test", bound=Callable[..., Any])


def missing() -> str | None:
    """What is not there that such a test needs; None where all is."""
    if not torch.cuda.is_available():
        return "needs a GPU: PyTorch sees none"
    return None if library.has_kernel("cuda") else f"needs the CUDA kernels: {library.status().cuda_error}"


needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
ON_CPU_AND_GPU = ["cpu", pytest.param("cuda", marks=needs_gpu)]


def needs_a_gpu(test: Test) -> Test:
    """Marks a single test."""
    for mark in needs_gpu:
        test = mark(test)
    return test
