"""Where what a network itself draws begins, dropout above all."""

from __future__ import annotations

import torch


def seed_network_draws(seed: int, device: torch.device) -> None:
    """Seeds PyTorch's generators of the CPU and of `device`, and no others.

    `torch.manual_seed` does so for every kind of device that PyTorch was built for. For one that is not there it
    formats the stack each time, for the day that it is: a tenth of a small network's iteration.
    """
    torch.default_generator.manual_seed(seed)
    if device.type not in ("cpu", "meta"):
        module = torch.get_device_module(device)
        # Of several devices of a process only one trains, but all have always had the same seed.
        getattr(module, "manual_seed_all", module.manual_seed)(seed)
