"""Networks and layers as PyTorch runs them, to be timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn


def torch_runs(networks: Mapping[str, nn.Module], size: tuple[int, ...], batch: int) -> dict[str, Callable[[], object]]:
    """Calls that each run one of `networks` on the same `batch` random images of `size` (C, H, W)."""
    images = torch.randn(batch, *size, generator=torch.Generator().manual_seed(0))

    def run(network: nn.Module) -> Callable[[], object]:
        def once() -> object:
            with torch.no_grad():
                return network(images)

        return once

    return {name: run(network) for name, network in networks.items()}
