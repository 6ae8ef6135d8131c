"""Processes that are threads: what several compute together, without starting any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from acu_core.learn.backend_flags import float32_products
from acu_core.learn.processes import Processes

T = TypeVar("T")


class ThreadedProcesses(Processes):
    """One of `size` threads."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, table: list[Any]) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = rank, size
        self._barrier, self._table = barrier, table

    def collected(self, value: T) -> list[T]:
        self._table[self.rank] = value
        self._barrier.wait()
        found = list(self._table)
        self._barrier.wait()
        return found

    def gathered(self, value: Tensor) -> Tensor:
        return torch.stack(self.collected(value))

    def most(self, *values: int) -> tuple[int, ...]:
        return tuple(map(max, zip(*self.collected(values), strict=True)))

    def from_first(self, function: Callable[[], T]) -> T:
        return self.collected(function() if self.leads else None)[0]  # type: ignore[return-value]


def in_threads(size: int, function: Callable[[Processes], T]) -> list[T]:
    """What `function` returns in each of `size` processes."""
    barrier = threading.Barrier(size, timeout=60)
    table: list[Any] = [None] * size
    # Each process has PyTorch's switches for itself, which threads share: what they were is put back here.
    with float32_products("ieee"), ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: function(ThreadedProcesses(rank, size, barrier, table)), range(size)))
