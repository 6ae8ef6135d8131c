"""Whole training steps of the paper's plain network, with ordinary convolutions and with active ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from acu_core.bench.timing import Timing, alternate
from acu_core.nn import active_layers, build_network, normalize_positions, parameter_groups
from acu_core.nn.convolution_unit import Unit


def _training_step(unit: Unit, batch: int, device: torch.device, layout: torch.memory_format) -> Callable[[], None]:
    torch.manual_seed(0)
    model = build_network("plain", in_channels=3, classes=10, unit=unit)
    model.to(device).to(memory_format=layout)
    for layer in active_layers(model).values():
        # Off the grid, as in most of a training: on it, there is less to do.
        layer.positions.data.add_(0.5 * torch.rand_like(layer.positions))
    optimizer = torch.optim.SGD(parameter_groups(model, lr=1e-3, weight_decay=1e-4), momentum=0.9)
    if active_layers(model):
        normalize_positions(optimizer)
    images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=layout)
    labels = torch.randint(10, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure_training(
    *,
    rounds: int = 21,
    batch: int = 64,
    device: str = "cpu",
    channels_last: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Timing]:
    """Seconds of one step (forward, backward, optimizer) of "convolution" and "acu", one memory format for both."""
    where = torch.device(device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    steps = {
        "convolution": _training_step("convolution", batch, where, layout),
        "acu": _training_step("acu", batch, where, layout),
    }
    return alternate(
        steps,
        rounds=rounds,
        device=where,
        after_round=None if progress is None else lambda done: progress(done, rounds),
    )
