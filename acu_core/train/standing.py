"""Whether a run is begun or gone on with, where one and the same command is to do both. Needs no PyTorch."""

from __future__ import annotations

import enum
from pathlib import Path

from acu_core.errors import Action, Remedy, UserError
from acu_core.recipe.differences import recipe_differences
from acu_core.recipe.schema import Recipe
from acu_core.runs.metrics import EvaluationRecord, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.run_recipe import EXTENDABLE, run_recipe

# Where a run is computed and its data lies may be another place each time it is started; words decide nothing.
_FREE = ("machine.device", "data.path", "description", "paper")
_NAMED = 6


class Standing(enum.Enum):
    """How far a run is; the values are short and plain, so that one process can tell them to others."""

    ABSENT = "absent"
    """There is nothing: it is to be begun."""
    BEGUN = "begun"
    """It is to be gone on with, from its newest checkpoint or, killed before its first one, from its beginning."""
    FINISHED = "finished"
    """All iterations are trained and the last one is evaluated: nothing is to be done."""


def run_standing(recipe: Recipe, path: Path) -> Standing:
    """How far the run of `recipe` at `path` is. Reads only, and takes no lock.

    The one place that decides whether a repeated start begins or goes on: of several processes that train one run, one
    asks and tells the others. A directory without a recipe is `ABSENT`: making the run refuses what it cannot be made
    in. Raises UserError where a run of another recipe lies there, a longer one included, or a damaged one.
    """
    if not (path / "recipe.toml").is_file():
        return Standing.ABSENT
    run = RunDirectory.open(path)
    _refuse_other_recipe(recipe, run)
    return Standing.BEGUN if final_evaluation(recipe, run) is None else Standing.FINISHED


def final_evaluation(recipe: Recipe, run: RunDirectory) -> EvaluationRecord | None:
    """The evaluation after the recipe's last iteration; None where the run has not come to it.

    Raises UserError when the log is damaged.
    """
    if not run.metrics.exists():
        return None
    evaluations = read_metrics(run.metrics, imported=run.imported_iterations).evaluations
    return next((record for record in evaluations if record.iteration == recipe.schedule.iterations), None)


def _refuse_other_recipe(recipe: Recipe, run: RunDirectory) -> None:
    found = recipe_differences(recipe, run_recipe(run), _FREE)
    if not found:
        return
    told = [f"{key} is {_text(theirs)} there, not {_text(ours)}" for key, ours, theirs in found[:_NAMED]]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    keys = {key for key, *_ in found}
    longer = Action.EXTEND if "schedule.iterations" in keys else Action.CHANGE
    remedies = [Remedy(longer, str(run.path))] if keys <= set(EXTENDABLE) else []
    raise UserError(
        f"{run.path} is a run of another recipe, so it is not gone on with ({'; '.join(told)}{more})",
        *remedies,
        Remedy(Action.CHOOSE_OUT, str(run.path)),
    )


def _text(value: object) -> str:
    if value is None:
        return "absent"
    # As a recipe writes it.
    return str(value).lower() if isinstance(value, bool) else str(value)
