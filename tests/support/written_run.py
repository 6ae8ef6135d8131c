"""A run that is written as a training writes it, without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acu_core.recipe.recipe_file import load_recipe, recipe_toml
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

LAYERS = [LayerEntry("stem", 1, 9), *(LayerEntry(f"stage{s}.{b}.conv", 1, 9) for s in (1, 2) for b in range(3))]
START = np.array([[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1)], np.float32)[None]


class WrittenRun:
    """While entered it holds the run's lock; `go_on` writes iterations."""

    def __init__(self, path: Path, iterations: int = 100) -> None:
        recipe = load_recipe("planted", [f"schedule.iterations={iterations}", "schedule.warm_up=10"])
        recipe = recipe.changed(compare_frozen=False)
        self.run = RunDirectory.create(path, recipe_toml(recipe), {})
        self.last = -1

    def __enter__(self) -> WrittenRun:
        self._lock = self.run.lock()
        self._lock.__enter__()
        self._snapshots = SnapshotWriter.create(self.run.positions, LAYERS, TrainingFacts(10))
        self._metrics = LogWriter(self.run.metrics)
        self._lengths = {0: (self._snapshots.length, self._metrics.length)}
        return self

    def __exit__(self, *_: object) -> None:
        self._snapshots.close()
        self._metrics.close()
        self._lock.__exit__(None, None, None)

    def go_on(self, last: int) -> None:
        numbers = np.arange(self.last + 1, last + 1)
        positions = [
            (START + np.float32(0.002 * layer) * np.maximum(numbers - 10, 0)[:, None, None, None]).astype(np.float32)
            for layer in range(len(LAYERS))
        ]
        self._snapshots.append_block(numbers, positions, [np.ones((len(numbers), 1, 9), np.float32)] * len(LAYERS))
        for number in numbers.tolist():
            if number:
                rates = {"learning_rate": 0.1, "position_learning_rate": 0.0}
                self._metrics.append({"iteration": number, "loss": 2.0 / number, "accuracy": 0.5, **rates})
        self.last = last
        self._lengths[last] = (self._snapshots.length, self._metrics.length)

    def evaluate(self, errors: int) -> None:
        figures = {"test_loss": 1.0, "test_accuracy": (100 - errors) / 100, "test_errors": errors, "test_images": 100}
        self._metrics.append({"iteration": self.last, **figures})

    def cut(self, last: int) -> None:
        """As a training that is resumed does with what was written after its checkpoint."""
        snapshots, metrics = self._lengths[last]
        self._snapshots.close()
        self._metrics.close()
        self._snapshots = SnapshotWriter.open_for_append(self.run.positions, snapshots)
        self._metrics = LogWriter.open_for_append(self.run.metrics, metrics)
        self._snapshots.cut()
        self._metrics.cut()
        self.last = last
