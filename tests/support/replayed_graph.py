"""A graph of a training step on the CPU, with all that makes a CUDA graph easy to get wrong.

At the capture every operation is noted with the tensors and the numbers that it was given, and what it did is taken
back. A replay calls the operations again: on the same memory, with the same numbers, and into the memory of the results
that the capture gave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")


class Tape(TorchDispatchMode):
    """Notes what is called, and what the memory that it changes held before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Any]]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._made: set[int] = set()
        self._kept: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if function._schema.is_mutable:
            for tensor in given:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self._made:
                    self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        known = {tensor.untyped_storage().data_ptr() for tensor in given}
        results = function(*args, **kwargs)
        found = tree_leaves(results)
        for result in found:
            if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in known:
                self._made.add(result.untyped_storage().data_ptr())
        self.calls.append((function, args, kwargs, found))
        return results

    def take_back(self) -> None:
        for storage, content in self._before.values():
            storage.copy_(content)
        # On a GPU nothing has been computed yet.
        for *_, results in self.calls:
            for result in results:
                if isinstance(result, Tensor) and result.untyped_storage().data_ptr() in self._made:
                    result.detach().fill_(float("nan") if result.is_floating_point() else 0)


class ReplayedGraph:
    """See `acu_core.learn.step_graph.Graph`."""

    made: list[ReplayedGraph]

    def __init__(self, device: torch.device) -> None:
        self.tape: Tape | None = None
        self.captures = self.replays = self.warmed = 0
        self.made.append(self)

    def warm_up(self, work: Callable[[], T]) -> T:
        self.warmed += 1
        return work()

    def capture(self, work: Callable[[], T]) -> T:
        self.captures += 1
        state = torch.get_rng_state()
        tape = Tape()
        with tape:
            result = work()
        with torch.no_grad():
            tape.take_back()
        torch.set_rng_state(state)
        self.tape = tape
        return result

    @torch.no_grad()
    def replay(self) -> None:
        assert self.tape is not None
        self.replays += 1
        for function, args, kwargs, results in self.tape.calls:
            for old, new in zip(results, tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
