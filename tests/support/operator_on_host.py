"""The CUDA operator on CPU tensors: the system's C++ compiler builds its sources for this processor."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.cpp_extension import include_paths, library_paths

ROOT = Path(__file__).parents[2]
CUDA_SOURCES = ROOT / "acu_core" / "op" / "csrc" / "cuda"
PROGRAM = ROOT / "tests" / "acu_core" / "op" / "cuda_on_host.cpp"
DEFAULTS = (256 << 20, 1 << 19)
"""Scratch memory in bytes and threads, as `configure` takes them."""


# PyTorch has this product for GPUs only. The operator calls it here just as it does there.
_PRODUCTS = torch.library.Library("aten", "IMPL")


@torch.library.impl(_PRODUCTS, "bmm.dtype_out", "CPU")
def _product_in(left: Tensor, right: Tensor, out_dtype: torch.dtype, *, out: Tensor) -> Tensor:
    assert out.dtype == out_dtype == torch.float32
    assert left.dtype == right.dtype
    assert left.dtype in (torch.float16, torch.bfloat16)
    return out.copy_(torch.bmm(left.float(), right.float()))


def compiler() -> str | None:
    """The C++ compiler of this machine, if it has one."""
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")


@functools.cache
def operator_on_host() -> Any:
    """`torch.ops.acu_cuda_on_host`, built once a process: a library of operators cannot be loaded twice."""
    folder = tempfile.mkdtemp(prefix="acu-cuda-on-host-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder) / "cuda_on_host.so"
    command = [str(compiler()), "-std=c++20", "-O1", "-fPIC", "-shared", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    command += [f"-I{path}" for path in [CUDA_SOURCES, *include_paths()]]
    command += [str(PROGRAM), "-o", str(library)]
    command += [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    return torch.ops.acu_cuda_on_host
