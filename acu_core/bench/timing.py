"""Side-by-side timing: every round runs every contestant once, in a new random order."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Timing:
    """Median and spread of `rounds` runs, in seconds; the spread is the distance between the quartiles."""

    median: float
    spread: float
    rounds: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarises at least two runs."""
        low, _, high = statistics.quantiles(seconds, n=4)
        return cls(statistics.median(seconds), high - low, len(seconds))


def alternate(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 3,
    before_round: Callable[[], None] | None = None,
    after_round: Callable[[int], None] | None = None,
    device: torch.device | None = None,
    clocks: Mapping[str, Callable[[], float]] | None = None,
    seed: int = 0,
) -> dict[str, Timing]:
    """Times each contestant `rounds` times after `warm_up` rounds that do not count.

    In random order, because who runs first after whom decides who pays for page faults and a cold cache. On CUDA, a
    synchronisation ends each run. `clocks` are contestants that tell their seconds themselves.
    """

    def synchronize() -> None:
        if device is not None and device.type == "cuda":
            # Drawing is timed too, without PyTorch.
            import torch

            torch.cuda.synchronize(device)

    def timed(contestant: Callable[[], object]) -> Callable[[], float]:
        def run() -> float:
            synchronize()
            begin = time.perf_counter()
            contestant()
            synchronize()
            return time.perf_counter() - begin

        return run

    order = random.Random(seed)
    every = {name: timed(contestant) for name, contestant in contestants.items()} | dict(clocks or {})
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for number in range(warm_up + rounds):
        if before_round is not None:
            before_round()
        for name in order.sample(list(every), len(every)):
            took = every[name]()
            if number >= warm_up:
                seconds[name].append(took)
        if after_round is not None and number >= warm_up:
            after_round(number - warm_up + 1)
    return {name: Timing.of(values) for name, values in seconds.items()}
