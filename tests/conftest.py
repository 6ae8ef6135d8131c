from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from acu_core.errors import Remedy
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory

TINY = (
    "name=tiny",
    "compare_frozen=false",
    "machine.threads=1",
    "machine.device=cpu",
    "data.batch_size=16",
    "data.options={train_count=200, test_count=50}",
    "schedule.iterations=12",
    "schedule.warm_up=3",
    "schedule.divisions=[6, 9]",
    "schedule.evaluate_every=4",
    "schedule.checkpoint_every=5",
    "round_and_finetune={iterations=6, learning_rate=0.01, divisions=[3]}",
)


@pytest.fixture(scope="session", autouse=True)
def _signals_arrive() -> None:
    # Whoever starts the tests may ignore them, as nohup does, and what is ignored stays so in every process below.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """The planted recipe, small enough to train in a fraction of a second; overrides come last."""
    return lambda *overrides: load_recipe("planted", [*TINY, *overrides])


def _content(path: Path) -> dict[str, object]:
    run = RunDirectory.open(path)
    checkpoint = load_latest_checkpoint(run)
    assert checkpoint is not None
    return {
        "recipe": run.recipe_toml,
        "positions": run.positions.read_bytes(),
        "metrics": run.metrics.read_bytes(),
        "iteration": checkpoint.iteration,
        "model": _bits(checkpoint.model),
        "optimizer": _bits(checkpoint.optimizer),
        "loss_scale": checkpoint.loss_scale,
    }


def _bits(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return {key: _bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bits(item) for item in value]
    return value


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, object]]:
    """All that must be the same, bit by bit, in two equal trainings."""
    return _content


class Recorded:
    """Events that remember what they were told, and can act on it."""

    def __init__(self, on_advance: Callable[[int], None] | None = None) -> None:
        self.warnings: list[str] = []
        self.begun: list[tuple[int, int]] = []
        self.advanced: list[tuple[int, str]] = []
        self._on_advance = on_advance

    def begin(self, total: int, done: int) -> None:
        self.begun.append((total, done))

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        self.advanced.append((done, stage))
        if self._on_advance is not None:
            self._on_advance(done)

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str, *remedies: Remedy) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="session")
def recorded() -> type[Recorded]:
    return Recorded
