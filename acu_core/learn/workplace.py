"""Where a network learns: data, device, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from acu_core.data.data_set import DataSet
from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.processes import ALONE, Processes

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Workplace:
    """A data set on the device it is trained on, the number of CPU threads, and the processes that train together."""

    data: DataSet
    device: torch.device
    threads: int
    processes: Processes = ALONE


def choose_device(wanted: str, processes: Processes = ALONE) -> torch.device:
    """The device called `wanted`; `auto` is CUDA where there is a GPU, else the CPU.

    Of several processes each gets the GPU of its number on its machine. Raises UserError when the device is not there.
    """
    if processes.several:
        return _choose_own_device(wanted, processes)
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


def _choose_own_device(wanted: str, processes: Processes) -> torch.device:
    if processes.local_size > 1 and wanted.startswith("cuda:"):
        raise UserError(
            f"{processes.local_size} processes of this machine cannot all use {wanted}: with the device cuda, each "
            "takes a GPU of its own"
        )
    device = choose_device(wanted)
    if device.type == "mps":
        raise UserError("several processes cannot share the device mps: use the device cpu")
    if device.type != "cuda":
        return device
    number = device.index if device.index is not None else processes.local_rank
    if number >= torch.cuda.device_count():
        raise UserError(
            f"{processes.local_size} processes need as many GPUs on this machine, and PyTorch sees "
            f"{torch.cuda.device_count()}: start fewer, or use the device cpu"
        )
    own = torch.device("cuda", number)
    # Also where no device is named, as in gathering what can be pickled.
    torch.cuda.set_device(own)
    return own


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
