"""The loss scaled up in float16, so that small gradients are not lost; PyTorch's GradScaler around a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

SMALLEST = 2.0**-24
"""A scale below this is no scale any more: the gradients are not finite whatever it is."""
_WHOLE = ("growth_interval", "_growth_tracker")
_POSITIVE = ("scale", "growth_factor", "backoff_factor")


class LossScaling:
    """One step's order is: `backward`, `unscale`, whatever clips or normalises gradients, `step`.

    Where gradients overflowed, `step` leaves the optimizer alone, with all that is hooked to its step: weights,
    positions and momentum stay as they are, and the scale is halved. After 2,000 steps without, it doubles. Switched
    off, the loss and the optimizer's step are plain.

    On CUDA it waits for the device once a step, to learn whether gradients overflowed. PyTorch's fused optimizers would
    not, but one whose very first step is left out keeps momentum from memory that was never written.
    """

    def __init__(self, device_type: str, *, enabled: bool) -> None:
        self._scaler = torch.amp.GradScaler(device_type, enabled=enabled)
        self._enabled = enabled

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of the scaled `loss` ()."""
        scaled: Tensor = self._scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Optimizer) -> None:
        """Divides the gradients by the scale, and notes on the device whether they are finite."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """Steps, unless a gradient was not finite."""
        self._scaler.step(optimizer)
        self._scaler.update()

    @property
    def exhausted(self) -> bool:
        """Whether the scale has fallen so far that no scale will do. Waits for the device."""
        return self._enabled and self._scaler.get_scale() < SMALLEST

    def state_dict(self) -> dict[str, Any] | None:
        """Numbers that a checkpoint keeps; None where nothing is scaled. Waits for the device."""
        return self._scaler.state_dict() if self._enabled else None

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Goes on with the scale of `state`. Raises ValueError where it is not what `state_dict` gives here."""
        if not self._enabled:
            if state is not None:
                raise ValueError("it has a loss scale, which only float16 needs")
            return
        if state is None:
            raise ValueError("it has no loss scale, which float16 needs")
        expected = self._scaler.state_dict()
        if state.keys() != expected.keys():
            raise ValueError(f"its loss scale holds {', '.join(map(str, state)) or 'nothing'}")
        for key in _POSITIVE:
            if type(state[key]) is not float or not 0 < state[key] < math.inf:
                raise ValueError(f"its loss scale has {str(state[key])[:40]} as {key}")
        for key in _WHOLE:
            if type(state[key]) is not int or state[key] < 0:
                raise ValueError(f"its loss scale has {str(state[key])[:40]} as {key}")
        self._scaler.load_state_dict(dict(state))
