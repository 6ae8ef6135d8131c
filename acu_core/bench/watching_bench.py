"""How much slower a training is while something watches it: stretches with and without, one after the other."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import torch

from acu_core.bench.training_bench import BATCHES, CHANNELS, CLASSES, SIZE
from acu_core.data.made_up import made_up_data
from acu_core.learn.workplace import Workplace, choose_device, computing
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.train.begin import create_run
from acu_core.train.run_training import RunTraining

RECIPE = "cifar10-plain-acu"


class Watcher(Protocol):
    """A process that watches a run, and can be made to rest."""

    def rest(self) -> None:
        """From now on it does nothing."""

    def go_on(self) -> None:
        """From now on it watches."""

    def used(self) -> tuple[float, int]:
        """Seconds of processor time, and bytes written to its terminal, up to now."""


@dataclass(frozen=True)
class WatchingCost:
    """Medians over `pairs` of stretches: seconds an iteration; `slower` is the share by which watching adds to them.

    `spread` is the distance between the quartiles of the pairs' shares. `processor_slower` is the same of the
    training's own processor time, which a busy neighbour hardly changes. The watcher's figures are a second's.
    """

    pairs: int
    alone_seconds: float
    watched_seconds: float
    slower: float
    spread: float
    processor_slower: float
    watcher_processor_share: float
    watcher_bytes_a_second: float


@dataclass(frozen=True)
class _Stretch:
    seconds: float
    """Of one iteration."""
    processor_seconds: float


def recipe_to_watch(*, batch: int = 64, device: str = "cpu") -> Recipe:
    """The recipe that is trained, without evaluations."""
    return load_recipe(
        RECIPE,
        [
            f"data.batch_size={batch}",
            f"machine.device={device}",
            "schedule.evaluate_every=0",
            # Positions that move are what there is to be seen.
            "schedule.warm_up=0",
        ],
    )


def measure_watching(
    recipe: Recipe,
    watching: Callable[[Path], AbstractContextManager[Watcher]],
    *,
    pairs: int = 10,
    seconds: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> WatchingCost:
    """Trains `recipe` on made-up images as `acu train` does, its files included, 2 * `pairs` stretches of `seconds`.

    In each pair, one stretch is watched by what `watching(run)` starts; which one comes first is random. A first pair
    does not count.
    """
    device = choose_device(recipe.machine.device)
    data = made_up_data(CHANNELS, SIZE, CLASSES, BATCHES * recipe.data.batch_size, recipe.seed)
    place = Workplace(data.to(device), device, torch.get_num_threads())
    order = random.Random(0)
    alone: list[_Stretch] = []
    watched: list[_Stretch] = []
    share = written = 0.0
    with TemporaryDirectory() as folder:
        run = create_run(recipe, Path(folder) / "run", place)
        training = _Stretches(RunTraining(run, recipe, place, stop=lambda: training.stop(), report=_nothing))
        try:
            training.begin()
            with run.lock(), computing(place.threads), watching(run.path) as watcher:
                for pair in range(pairs + 1):
                    for kind in order.sample(("alone", "watched"), 2):
                        if kind == "alone":
                            watcher.rest()
                            alone.append(training.train(seconds))
                        else:
                            watcher.go_on()
                            before = watcher.used()
                            watched.append(training.train(seconds))
                            after = watcher.used()
                            if pair:
                                share += (after[0] - before[0]) / training.lasted / pairs
                                written += (after[1] - before[1]) / training.lasted / pairs
                    if progress is not None:
                        progress(pair, pairs)
                # What rests could not end.
                watcher.go_on()
        finally:
            training.close()
    both = list(zip(alone[1:], watched[1:], strict=True))
    shares = [slow.seconds / fast.seconds - 1.0 for fast, slow in both]
    low, _, high = statistics.quantiles(shares, n=4)
    return WatchingCost(
        pairs,
        statistics.median(fast.seconds for fast, _ in both),
        statistics.median(slow.seconds for _, slow in both),
        statistics.median(shares),
        high - low,
        statistics.median(slow.processor_seconds / fast.processor_seconds - 1.0 for fast, slow in both),
        share,
        written,
    )


class _Stretches:
    """A training that goes on for some seconds at a time."""

    def __init__(self, training: RunTraining) -> None:
        self._training = training
        self._end = 0.0
        self._reached = (0.0, 0.0, 0)
        self.lasted = 0.0
        """Seconds of the last stretch, with what it saved at its end."""

    def begin(self) -> None:
        self._training.begin()

    def close(self) -> None:
        self._training.close()

    def stop(self) -> bool:
        """Asked before every iteration."""
        now = time.perf_counter()
        if now < self._end:
            return False
        self._reached = now, time.process_time(), self._training.iteration
        return True

    def train(self, seconds: float) -> _Stretch:
        begun, processor, first = time.perf_counter(), time.process_time(), self._training.iteration
        self._end = begun + seconds
        if self._training.run():
            raise RuntimeError("the recipe has too few iterations for so many stretches")
        ended, processor_ended, last = self._reached
        self.lasted = time.perf_counter() - begun
        count = max(1, last - first)
        return _Stretch((ended - begun) / count, (processor_ended - processor) / count)


def _nothing(iteration: int, loss: float, accuracy: float) -> None:
    pass
