"""Where a network learns: data, device, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from acu_core.data.data_set import DataSet
from acu_core.errors import Action, Remedy, UserError

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Workplace:
    """A data set on the device it is trained on, and the number of CPU threads."""

    data: DataSet
    device: torch.device
    threads: int


def choose_device(wanted: str) -> torch.device:
    """The device called `wanted`; `auto` is CUDA where there is a GPU, else the CPU.

    Raises UserError when the device is not there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError(f"there is no device {wanted!r}, only auto, cpu, cuda, cuda:<number> and mps") from error
    missing = Remedy(Action.CHOOSE_DEVICE, wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"PyTorch sees no device {wanted} here", missing)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("PyTorch sees no device mps here", missing)
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device {wanted!r} is not supported, only auto, cpu, cuda, cuda:<number> and mps")
    return device


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Sets the number of CPU threads and keeps PyTorch's global generator as the caller left it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
