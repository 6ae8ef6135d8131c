"""Two of PyTorch's optimizers as one: weights and positions follow their gradients in different ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import Optimizer


class JoinedOptimizer(Optimizer):
    """Optimizers of different parameters that step together, with one list of groups and one state dict.

    Groups and states are the parts' own objects, in the order of the parts: a learning rate that is set here is theirs,
    and the state dict is what one optimizer with all the groups would have. Whatever works on an optimizer's groups
    (hooks, clipping, a gradient scaler) works on this one.
    """

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each part; `closure` is called once, before them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        # How torch puts a loaded state in: with new groups and a new dictionary of states.
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        first = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[first : first + count]
            part.state = self.state
            first += count
