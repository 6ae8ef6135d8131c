"""Loads the compiled operator, and remembers what could be loaded and why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from acu_core.errors import UserError

FOLDER = Path(__file__).parent
INSTRUCTION_SETS = ("baseline", "avx2", "avx512", "amx")
CHOICE = "ACU_CPU_INSTRUCTION_SET"
"""The environment variable that names the instruction set of the CPU kernels, in place of the best one."""
CUDA_CHOICE = "ACU_CUDA_KERNELS"
"""The environment variable that says which CUDA kernels are used."""
CUDA_KERNELS = ("columns", "fused", "auto")
"""Columns and matrix products; the fused kernels where they can; for every call the faster one, where both agree."""
# How often the order of the kernels' sums has changed. A run records that of its instruction set, so that one that goes
# on with other bits says so. Raised with every change after which a kernel gives other bits; that of amx with avx512's,
# too, which computes what amx leaves.
_REVISIONS = {"baseline": 4, "avx2": 4, "avx512": 7, "amx": 2}


@dataclass(frozen=True)
class OperatorStatus:
    """What of the operator is compiled and loaded.

    Attributes:
        cpu: the CPU kernels are there; if not, `cpu_error` says why.
        cuda: the CUDA kernels are there; if not, `cuda_error` says why.
        cuda_architectures: what they were compiled for, such as `("8.0", "9.0")`.
        instruction_set: which of `INSTRUCTION_SETS` the CPU kernels use on this processor.
        revision: of those kernels' arithmetic; another number may give other bits.
    """

    cpu: bool
    cpu_error: str | None
    cuda: bool
    cuda_error: str | None
    cuda_architectures: tuple[str, ...]
    instruction_set: str | None
    revision: int | None = None


def _load(stem: str) -> str | None:
    """Loads a library beside this file; returns what went wrong, or None."""
    found = sorted(path for suffix in ("so", "pyd", "dylib") for path in FOLDER.glob(f"{stem}.*{suffix}"))
    if not found:
        return "it was not built"
    try:
        torch.ops.load_library(found[0])  # type: ignore[no-untyped-call]
    except OSError as error:
        return str(error)
    return None


def _cuda_architectures() -> tuple[str, ...]:
    return tuple(f"{number // 100}.{number % 100 // 10}" for number in torch.ops.acu.cuda_architectures())


_NEWEST = "cuda_fused_supports"
"""What the schema had last added."""
_STALE = "it was built from other sources than these: build it again"


def _load_all() -> tuple[str | None, str | None]:
    cpu_error = _load("_C")
    if cpu_error is not None:
        return cpu_error, "the CPU library with the schema is not loaded"
    if not hasattr(torch.ops.acu, _NEWEST):
        return _STALE, _STALE
    if torch.version.cuda is None:
        return None, "this torch was built without CUDA"
    return None, _load("_C_cuda")


def _choose_instruction_set(name: str) -> None:
    if name not in INSTRUCTION_SETS:
        raise UserError(f"{CHOICE} is {name!r}: it must be one of {', '.join(INSTRUCTION_SETS)}, or not set")
    try:
        force_instruction_set(name)
    except RuntimeError as error:
        raise UserError(f"{CHOICE} is {name!r}, which this processor or this build lacks: do not set it") from error


def _read_cuda_kernels() -> str | None:
    name = os.environ.get(CUDA_CHOICE)
    if name is not None and name not in CUDA_KERNELS:
        raise UserError(f"{CUDA_CHOICE} is {name!r}: it must be one of {', '.join(CUDA_KERNELS)}, or not set")
    return name


def wanted_cuda_kernels() -> str | None:
    """Which of `CUDA_KERNELS` the environment names; None where it names none."""
    return _WANTED_CUDA_KERNELS


def status() -> OperatorStatus:
    """What of the operator is compiled and loaded, as `acu doctor` shows it."""
    return OperatorStatus(
        cpu=_CPU_ERROR is None,
        cpu_error=_CPU_ERROR,
        cuda=_CUDA_ERROR is None,
        cuda_error=_CUDA_ERROR,
        cuda_architectures=_cuda_architectures() if _CUDA_ERROR is None else (),
        instruction_set=instruction_set() if _CPU_ERROR is None else None,
        revision=_REVISIONS[instruction_set()] if _CPU_ERROR is None else None,
    )


def has_kernel(device_type: str) -> bool:
    """Whether the operator runs compiled on tensors of this device type; `meta` counts, as shapes need no kernel."""
    if device_type == "cuda":
        return _CUDA_ERROR is None
    return device_type in ("cpu", "meta") and _CPU_ERROR is None


def instruction_set() -> str:
    """Which of `INSTRUCTION_SETS` the CPU kernels use."""
    return INSTRUCTION_SETS[torch.ops.acu.cpu_instruction_set(-1)]


def force_instruction_set(name: str) -> None:
    """Makes the CPU kernels use one instruction set from now on, for tests and comparisons.

    Raises:
        RuntimeError: this processor or this build lacks it.
    """
    torch.ops.acu.cpu_instruction_set(INSTRUCTION_SETS.index(name))


def supported_instruction_sets() -> tuple[str, ...]:
    """Those of `INSTRUCTION_SETS` that this processor and this build have."""
    before, found = instruction_set(), []
    for name in INSTRUCTION_SETS:
        try:
            force_instruction_set(name)
        except RuntimeError:
            continue
        found.append(name)
    force_instruction_set(before)
    return tuple(found)


@contextmanager
def with_instruction_set(name: str) -> Iterator[None]:
    """Makes the CPU kernels of the whole process use one instruction set inside the block."""
    before = instruction_set()
    force_instruction_set(name)
    try:
        yield
    finally:
        force_instruction_set(before)


def cuda_scratch_bytes() -> int:
    """How much memory the columns of a call may take on CUDA; what needs more is cut into slices of pixels.

    Raises:
        RuntimeError: there are no CUDA kernels.
    """
    return _cuda_scratch_bytes(0)


@contextmanager
def with_cuda_scratch_bytes(count: int) -> Iterator[None]:
    """Lets the columns of a call on CUDA take so much memory inside the block, in the whole process.

    With less than a row of columns, a slice is one output pixel. Raises RuntimeError where there are no CUDA kernels.
    """
    before = _cuda_scratch_bytes(0)
    _cuda_scratch_bytes(count)
    try:
        yield
    finally:
        _cuda_scratch_bytes(before)


def _cuda_scratch_bytes(choice: int) -> int:
    _need_cuda()
    return int(torch.ops.acu.cuda_scratch_bytes(choice))


def _need_cuda() -> None:
    if _CUDA_ERROR is not None:
        raise RuntimeError(f"there are no CUDA kernels: {_CUDA_ERROR}")


def cuda_kernels() -> str:
    """Which of `CUDA_KERNELS` the operator uses on CUDA; what the fused ones do not take goes to columns.

    Raises:
        RuntimeError: there are no CUDA kernels.
    """
    _need_cuda()
    return CUDA_KERNELS[torch.ops.acu.cuda_kernels()]


def use_cuda_kernels(name: str) -> None:
    """Makes the operator use one of `CUDA_KERNELS` from now on, in the whole process, in backward too.

    With "auto" it is whoever calls the operator (`cuda_kernels.py`) that decides for each kind of call.

    Raises:
        RuntimeError: there are no CUDA kernels.
    """
    _need_cuda()
    torch.ops.acu.set_cuda_kernels(CUDA_KERNELS.index(name))


@contextmanager
def with_cuda_kernels(name: str) -> Iterator[None]:
    """Makes the operator of the whole process use one of `CUDA_KERNELS` inside the block."""
    before = cuda_kernels()
    use_cuda_kernels(name)
    try:
        yield
    finally:
        use_cuda_kernels(before)


def cuda_tf32() -> bool:
    """Whether the fused CUDA kernels may round float32 to TF32; if not, float32 goes to columns, which ask PyTorch."""
    return _CUDA_ERROR is None and bool(torch.ops.acu.cuda_tf32())


def allow_cuda_tf32(allowed: bool) -> None:
    """Allows the fused CUDA kernels TF32 from now on, or not; of no effect where there are none."""
    if _CUDA_ERROR is None:
        torch.ops.acu.set_cuda_tf32(allowed)


# Once, on import: what `torch.compile` traces must not be a cached function.
_CPU_ERROR, _CUDA_ERROR = _load_all()
if _CPU_ERROR is None and CHOICE in os.environ:
    _choose_instruction_set(os.environ[CHOICE])
_WANTED_CUDA_KERNELS = _read_cuda_kernels()
if _CUDA_ERROR is None:
    try:
        use_cuda_kernels(_WANTED_CUDA_KERNELS or "auto")
    except RuntimeError:
        _CUDA_ERROR = _STALE
