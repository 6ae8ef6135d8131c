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
from acu_core.report.run_settings import UNKNOWN_PARENT, ParentGoneError, own_settings, parent_settings
from acu_core.runs.conditions import DATA, conditions, shared_fingerprint
from acu_core.runs.log_end import read_log_end
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_follower import SnapshotFollower

_IMPORTED = "it was imported, and has not been evaluated here"


class LeftOutError(Exception):
    """Says in a phrase why a run cannot be compared."""


@dataclass(frozen=True)
class ComparedRun:
    """A run with its test errors at one iteration.

    `settings` are the keys that decide the training, flat: the recipe's, those of its parent's recipe as `parent.*`,
    and which data were read; `conditions` those of its environment. `distance` is the median of the learned synapses
    from their hidden ones, in pixels, where the data have a hidden shape. Data that are made are made from the seed, so
    only runs of one seed have the same. `remarks` say what could not be read.
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
    remarks: tuple[str, ...] = ()

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
            reached, errors, images = (
                _last(run, last, bool(imported)) if iteration is None else _at(run, iteration, imported)
            )
        except UserError as error:
            # What is wrong with a recipe may be several lines.
            raise LeftOutError(" ".join(line.strip() for line in str(error).splitlines())) from error
        parents, gone = _read_parent(path, recipe)
        remarks = []
        if gone is not None:
            remarks.append(f"What the parent of {path} was trained with is not known ({gone}): it stands by itself.")
        distance, damage = _distance(run, reached)
        if damage is not None:
            remarks.append(f"The distance of {path} to the hidden shape is not known: {damage}.")
        return cls(
            path,
            recipe.name,
            recipe.seed,
            recipe.schedule.iterations,
            {**own_settings(recipe, environment), **parents},
            _shared_conditions(environment),
            recipe.data.is_made,
            reached,
            errors,
            images,
            distance,
            tuple(remarks),
        )


def _shared_conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Those in which runs of different seeds are alike: images held out by the seed make no other data."""
    found = conditions(environment)
    return {**found, DATA: shared_fingerprint(found[DATA])} if found[DATA] is not None else found


def _read_parent(path: Path, recipe: Recipe) -> tuple[dict[str, Any], str | None]:
    """What decided the training of the parent; where that is gone, which one it was, and why that is not known."""
    try:
        return parent_settings(path, recipe), None
    except ParentGoneError as error:
        assert recipe.parent is not None
        return {UNKNOWN_PARENT: [recipe.parent.run, recipe.parent.checkpoint_sha256]}, str(error)


def _last(run: RunDirectory, iterations: int, is_imported: bool) -> tuple[int, int, int]:
    end = read_log_end(run.metrics, "test_errors")
    if end.damage is not None:
        raise LeftOutError(end.damage)
    entry = end.last_with_key or {}
    values = [entry.get(key) for key in ("iteration", "test_errors", "test_images")]
    reached, errors, images = (value if type(value) is int and value >= 0 else 0 for value in values)
    if end.last_with_key is not None and (not images or errors > images):
        raise LeftOutError(f"{run.metrics} is damaged near its end: an evaluation has no errors among images")
    if reached != iterations or not images:
        if is_imported and end.last is None:
            raise LeftOutError(_IMPORTED)
        last = (end.last or {}).get("iteration", 0)
        if last == iterations:
            raise LeftOutError(f"it is trained to its end, iteration {iterations}, but not evaluated there")
        raise LeftOutError(f"it is not finished: iteration {last} of {iterations}")
    return reached, errors, images


def _at(run: RunDirectory, iteration: int, imported: frozenset[int]) -> tuple[int, int, int]:
    evaluations = read_metrics(run.metrics, imported=imported).evaluations if run.metrics.exists() else ()
    for record in reversed(evaluations):
        if record.iteration == iteration:
            return iteration, record.test_errors, record.test_images
    if imported and not evaluations:
        raise LeftOutError(_IMPORTED)
    near = sorted(evaluations, key=lambda record: abs(record.iteration - iteration))[:3]
    known = ", ".join(str(number) for number in sorted(record.iteration for record in near))
    raise LeftOutError(f"it was not evaluated at iteration {iteration}" + (f" (near it: {known})" if known else ""))


def _distance(run: RunDirectory, iteration: int) -> tuple[float | None, str | None]:
    """The distance where there is one, and what is damaged where that is why there is none."""
    snapshots = SnapshotFollower(run.positions)
    snapshots.poll()
    hidden = snapshots.facts.hidden
    if hidden is None or len(snapshots.layers) != 1:
        return None, snapshots.damage
    # Snapshots are of every iteration, unless somebody's own training thinned them: then it is not said.
    found = snapshots.read([max(0, len(snapshots) - 1 - (snapshots.last_iteration - iteration))])
    shape = np.asarray(hidden, np.float64).reshape(-1, 2)
    if found.iterations.tolist() != [iteration] or found.positions[0].shape != shape.shape:
        return None, snapshots.damage
    # The fixed centre is no learned synapse.
    moving = np.arange(len(shape)) % hidden.shape[-2] != hidden.shape[-2] // 2
    distance = float(np.median(np.linalg.norm(found.positions[0].astype(np.float64) - shape, axis=1)[moving]))
    return (distance, None) if np.isfinite(distance) else (None, "its positions are not finite")
