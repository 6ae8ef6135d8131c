"""A run as a comparison of runs sees it: read from the ends of its files, so that a hundred take less than a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acu_core.errors import UserError
from acu_core.recipe.recipe_file import parse_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.conditions import conditions
from acu_core.runs.log_end import read_log_end
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_follower import SnapshotFollower

# Two runs of one recipe may differ in these: the seed, where they are computed and lie, words, and what decides nothing
# of the training: how often it is evaluated and saved, and what may follow it.
_FREE_TABLES = frozenset({"seed", "machine", "description", "paper", "compare_frozen", "round_and_finetune"})
_FREE_KEYS = frozenset(
    {"data.path", "parent.run", "parent.checkpoint_sha256", "schedule.evaluate_every", "schedule.checkpoint_every"}
)


class LeftOutError(Exception):
    """Says in a phrase why a run cannot be compared."""


@dataclass(frozen=True)
class ComparedRun:
    """A run with its test errors at one iteration.

    `settings` are the recipe's keys that decide the training, flat; `conditions` those of its environment. `distance`
    is the median of the learned synapses from their hidden ones, in pixels, where the data have a hidden shape. Data
    that are made are made from the seed, so only runs of one seed have the same.
    """

    path: Path
    name: str
    seed: int
    iterations: int
    settings: Mapping[str, Any]
    conditions: Mapping[str, Any]
    has_made_data: bool
    iteration: int
    test_errors: int
    test_images: int
    distance: float | None

    @property
    def test_error(self) -> float:
        """In percent."""
        return 100.0 * self.test_errors / self.test_images

    @property
    def recipe_key(self) -> str:
        """The same for all runs of one recipe."""
        return json.dumps(self.settings, sort_keys=True)

    @classmethod
    def read(cls, path: Path, iteration: int | None = None) -> ComparedRun:
        """The run at `path`, at `iteration` or at its end. Raises LeftOutError when it was not evaluated there."""
        try:
            run = RunDirectory.open(path)
            recipe = parse_recipe(run.recipe_toml, str(path / "recipe.toml"))
            environment = run.environment
            imported = run.imported_iterations
            last = recipe.schedule.iterations
            reached, errors, images = _last(run, last) if iteration is None else _at(run, iteration, imported)
        except UserError as error:
            # What is wrong with a recipe may be several lines.
            raise LeftOutError(" ".join(line.strip() for line in str(error).splitlines())) from error
        return cls(
            path,
            recipe.name,
            recipe.seed,
            recipe.schedule.iterations,
            settings(recipe),
            conditions(environment),
            recipe.data.is_made,
            reached,
            errors,
            images,
            _distance(run, reached),
        )


def settings(recipe: Recipe) -> dict[str, Any]:
    """The keys of a recipe that decide its training, but for the seed: "optimizer.learning_rate" and so on."""
    values = recipe.model_dump(exclude_none=True)
    flat = _flat({key: value for key, value in values.items() if key not in _FREE_TABLES})
    return {key: value for key, value in flat.items() if key not in _FREE_KEYS}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _last(run: RunDirectory, iterations: int) -> tuple[int, int, int]:
    end = read_log_end(run.metrics, "test_errors")
    if end.damage is not None:
        raise LeftOutError(end.damage)
    entry = end.last_with_key or {}
    values = [entry.get(key) for key in ("iteration", "test_errors", "test_images")]
    reached, errors, images = (value if type(value) is int and value >= 0 else 0 for value in values)
    if end.last_with_key is not None and (not images or errors > images):
        raise LeftOutError(f"{run.metrics} is damaged near its end: an evaluation has no errors among images")
    if reached != iterations or not images:
        last = (end.last or {}).get("iteration", 0)
        raise LeftOutError(f"it is not finished: iteration {last} of {iterations}")
    return reached, errors, images


def _at(run: RunDirectory, iteration: int, imported: frozenset[int]) -> tuple[int, int, int]:
    evaluations = read_metrics(run.metrics, imported=imported).evaluations if run.metrics.exists() else ()
    for record in reversed(evaluations):
        if record.iteration == iteration:
            return iteration, record.test_errors, record.test_images
    near = sorted(evaluations, key=lambda record: abs(record.iteration - iteration))[:3]
    known = ", ".join(str(number) for number in sorted(record.iteration for record in near))
    raise LeftOutError(f"it was not evaluated at iteration {iteration}" + (f" (near it: {known})" if known else ""))


def _distance(run: RunDirectory, iteration: int) -> float | None:
    snapshots = SnapshotFollower(run.positions)
    snapshots.poll()
    hidden = snapshots.facts.hidden
    if hidden is None or len(snapshots.layers) != 1:
        return None
    # Snapshots are of every iteration, unless somebody's own training thinned them: then it is not said.
    found = snapshots.read([max(0, len(snapshots) - 1 - (snapshots.last_iteration - iteration))])
    shape = np.asarray(hidden, np.float64).reshape(-1, 2)
    if found.iterations.tolist() != [iteration] or found.positions[0].shape != shape.shape:
        return None
    # The fixed centre is no learned synapse.
    moving = np.arange(len(shape)) % hidden.shape[-2] != hidden.shape[-2] // 2
    distance = float(np.median(np.linalg.norm(found.positions[0].astype(np.float64) - shape, axis=1)[moving]))
    return distance if np.isfinite(distance) else None
