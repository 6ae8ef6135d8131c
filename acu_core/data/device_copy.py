"""Tensors on their way to the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """`tensor` (...) of the CPU on `device`; itself where it is there already.

    A copy from ordinary memory waits until the GPU has done all that it was given, so it goes through pinned memory.
    PyTorch keeps that memory until the copy is done, and for the next one.
    """
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
