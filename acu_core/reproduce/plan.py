"""Which runs a table needs, where they lie, and how far they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.errors import Action, Remedy, UserError
from acu_core.recipe.differences import recipe_differences
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.reproduce.scaling import scaled
from acu_core.reproduce.tables import Row, Table
from acu_core.runs.conditions import shared_fingerprint
from acu_core.runs.metrics import EvaluationRecord
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.timings import TimingRecord
from acu_core.train.stored_run import StoredRun

# What may differ between two runs that stand in one table: where they are computed, and words.
_FREE = ("machine.device", "data.path", "description", "paper", "start", "parent")
# What a scale changes beside the schedules.
_SCALED = ("network.batch_norm_fraction", "average.decay")


@dataclass(frozen=True)
class PlannedRun:
    """One training: a recipe with its seed, at a path that two tables in one directory share."""

    row: Row
    recipe: Recipe
    seed: int
    path: Path
    parent: Path | None = None
    """The run that is rounded to start this one."""
    may_be_scaled: bool = True
    """Whether another scale may be why what lies at the path has another schedule."""

    @property
    def iterations(self) -> int:
        """How many iterations it has at its end."""
        return self.recipe.schedule.iterations


@dataclass(frozen=True)
class RunState:
    """How far a run is on disk."""

    exists: bool
    iteration: int = 0
    evaluation: EvaluationRecord | None = None
    """Its last evaluation; None while it is not finished."""
    environment: Mapping[str, Any] | None = None
    timings: tuple[TimingRecord, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return self.evaluation is not None


def plan_runs(table: Table, *, seeds: int, scale: float, out: Path, device: str | None) -> list[PlannedRun]:
    """The runs of a table in the order in which they are trained: a run to be rounded comes before what it starts.

    All rows of seed 0 come first, then those of seed 1, so that a table is whole as early as it can be.
    """
    if seeds < 1:
        raise UserError(f"at least one seed is needed, got {seeds}")
    planned = []
    for seed in range(seeds):
        overrides = [f"seed={seed}"] + ([f'machine.device="{device}"'] if device is not None else [])
        runs = []
        for row in table.rows:
            recipe = scaled(load_recipe(row.recipe, overrides), scale)
            parent = run_path(out, recipe.start.recipe, seed) if recipe.start is not None else None
            runs.append(PlannedRun(row, recipe, seed, run_path(out, row.recipe, seed), parent))
        planned += sorted(runs, key=lambda run: run.parent is not None)
    return planned


def run_path(out: Path, recipe: str, seed: int) -> Path:
    """Where the run of a recipe and a seed lies in a table's directory."""
    return out / f"{recipe}-seed{seed}"


def read_state(run: PlannedRun) -> RunState:
    """How far `run` is. Raises UserError when what lies at its path has other settings, is no run, or is damaged."""
    if not run.path.exists() or (run.path.is_dir() and not any(run.path.iterdir())):
        return RunState(exists=False)
    try:
        RunDirectory.open(run.path)
    except UserError as error:
        raise UserError(
            f"{run.path} is no run, but a run of this table belongs there: move it away, or use another directory",
            Remedy(Action.CHOOSE_OUT, str(run.path.parent)),
        ) from error
    stored = StoredRun.open(run.path)
    differences = recipe_differences(run.recipe, stored.recipe, _FREE)
    different = [f"{key} is {_text(theirs)} there, not {_text(ours)}" for key, ours, theirs in differences]
    if different:
        by_scale = run.may_be_scaled and all(
            key.startswith(("schedule.", "round_and_finetune.")) or key in _SCALED for key, *_ in differences
        )
        remedies = [Remedy(Action.SAME_SCALE)] if by_scale else []
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise UserError(
            f"{run.path} was trained with other settings ({'; '.join(different[:3])}{more}): different settings are "
            f"never mixed into one table",
            *remedies,
            Remedy(Action.CHOOSE_OUT, str(run.path.parent)),
        )
    metrics = stored.metrics()
    evaluations = [record for record in metrics.evaluations if record.iteration == run.iterations]
    return RunState(
        exists=True,
        iteration=metrics.iteration,
        evaluation=evaluations[-1] if evaluations else None,
        environment=stored.environment,
        timings=stored.timings(),
    )


def fingerprint(environment: Mapping[str, Any]) -> str:
    """What identifies the data that a run was trained on, from its `environment.json`."""
    return json.dumps(shared_fingerprint(environment.get("data", {}).get("fingerprint", {})), sort_keys=True)


def check_same_data(states: Mapping[Path, RunState], loaded: Mapping[str, str] | None = None) -> None:
    """Raises UserError unless all runs, and the data set `loaded` now (its fingerprint), are of the same data."""
    found: dict[str, Path] = {}
    for path, state in states.items():
        if state.environment is not None:
            found.setdefault(fingerprint(state.environment), path)
    paths = [str(path) for path in found.values()]
    if len(paths) > 1:
        raise UserError(
            f"{paths[0]} and {paths[1]} were trained on different data, which is never mixed into one table: "
            "move one of them away"
        )
    if loaded is not None and found and fingerprint({"data": {"fingerprint": dict(loaded)}}) not in found:
        raise UserError(
            f"{paths[0]} was trained on other data than this, which is never mixed into one table",
            Remedy(Action.SAME_DATA),
            Remedy(Action.CHOOSE_OUT, paths[0]),
        )


def _text(value: Any) -> str:
    return "absent" if value is None else str(value)
