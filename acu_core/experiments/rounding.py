"""The paper's ACU-Round: positions rounded to the grid and frozen, weights trained on, in a run of its own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from acu_core.errors import Action, Remedy, UserError
from acu_core.experiments.frozen_twin import train_to_end
from acu_core.experiments.report import TrainingReport
from acu_core.experiments.rounded_start import file_sha256
from acu_core.learn.joined_processes import joined
from acu_core.learn.processes import Processes
from acu_core.learn.workplace import Workplace, computing
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint
from acu_core.train.begin import create_run, rehearse
from acu_core.train.environment import storable_path
from acu_core.train.events import Events, heard_by
from acu_core.train.resume import begun
from acu_core.train.stored_run import StoredRun


def round_and_finetune(
    path: Path,
    out: Path | None = None,
    *,
    iterations: int | None = None,
    recipe: Recipe | None = None,
    data_path: Path | None = None,
    download: bool = False,
    device: str | None = None,
    events: Events | None = None,
) -> TrainingReport:
    """Rounds the newest checkpoint of the run at `path`, freezes the positions and trains on in a new run.

    The new run's recipe is the parent's with the schedule of its `[round_and_finetune]` table (`iterations` overrides
    that), or else `recipe`, a whole one with a table [start]; either way it names the parent. Its report holds
    the error before rounding, after it, and after the fine-tuning.
    Raises UserError when the run has no checkpoint or no active layers, its recipe says nothing of fine-tuning, or
    `recipe` starts from another recipe, network, seed or data.
    """
    with joined() as processes:
        heard = heard_by(events, processes)
        found = processes.from_first(lambda: _parent(path, heard))
        child, place = _child(
            found,
            iterations,
            recipe,
            data_path=data_path,
            download=download,
            device=device,
            events=heard,
            processes=processes,
        )
        # The new run stands on its own from here: interrupted, it is resumed like any other.
        with begun(create_run(child, out, place), child, place) as session:
            return train_to_end(session, heard)


@dataclass(frozen=True)
class _Parent:
    run: StoredRun
    checkpoint: Checkpoint | None
    checkpoint_sha256: str


def _parent(path: Path, events: Events) -> _Parent:
    parent = StoredRun.open(path)
    # Locked: while the parent still trains, its checkpoints come and go.
    with parent.directory.lock_to_read():
        checkpoint = parent.newest_checkpoint(events)
        return _Parent(parent, checkpoint, file_sha256(checkpoint.path) if checkpoint is not None else "")


def _child(
    found: _Parent,
    iterations: int | None,
    recipe: Recipe | None,
    *,
    data_path: Path | None,
    download: bool,
    device: str | None,
    events: Events,
    processes: Processes,
) -> tuple[Recipe, Workplace]:
    """The recipe of the fine-tuning, and where it is trained."""
    parent, checkpoint = found.run, found.checkpoint
    path, trained = parent.path, parent.recipe
    if checkpoint is None or checkpoint.iteration == 0:
        raise UserError(f"{path} has not been trained yet", Remedy(Action.RESUME, str(path)))
    if trained.network.unit != "acu":
        raise UserError(f"{path} has ordinary convolutions only, there are no positions to round")
    if checkpoint.iteration < trained.schedule.iterations:
        events.warn(
            f"{path} has trained {checkpoint.iteration} of {trained.schedule.iterations} iterations",
            Remedy(Action.RESUME, str(path)),
        )
    if recipe is None:
        recipe = finetuning_recipe(trained, iterations)
    else:
        _check_start(recipe, trained, path)
    named = {
        "run": storable_path(path),
        "iteration": checkpoint.iteration,
        "checkpoint_sha256": found.checkpoint_sha256,
        "continue_statistics": True,
    }
    child = recipe.changed(start=None, parent=named)
    place = parent.workplace(
        child, data_path=data_path, download=download, device=device, events=events, processes=processes
    )
    rehearse(child, place, pretrained=False)
    _check_parent(parent, checkpoint, place)
    return child, place


def _check_parent(parent: StoredRun, checkpoint: Checkpoint, place: Workplace) -> None:
    """Raises UserError for a network that cannot be loaded or computes nothing: its fine-tuning would be a dead run."""
    size = parent.recipe.data.evaluation_batch_size
    with computing(place.threads), torch.no_grad(), closing(place.data.test_batches(size)) as batches:
        model = parent.network(checkpoint, place).eval()
        images, _ = next(batches)
        try:
            finite = bool(torch.isfinite(model(images)).all())
        except (RuntimeError, ValueError):
            finite = False
    if not finite:
        raise UserError(f"{checkpoint.path} computes numbers that are not finite: there is nothing to fine-tune")


def finetuning_recipe(recipe: Recipe, iterations: int | None) -> Recipe:
    """The recipe of the fine-tuning of a run of `recipe`. Raises UserError when neither says how long it is."""
    table = recipe.round_and_finetune
    if table is None and iterations is None:
        raise UserError(
            "the run's recipe has no table [round_and_finetune]", Remedy(Action.SAY_ITERATIONS, recipe.name)
        )
    schedule: dict[str, object] = {"iterations": iterations, "warm_up": 0, "divisions": []}
    optimizer: dict[str, object] = {"freeze_positions": True}
    if table is not None:
        schedule = {"iterations": iterations or table.iterations, "warm_up": 0, "divisions": table.divisions}
        optimizer["learning_rate"] = table.learning_rate
    else:
        divisions = len(recipe.schedule.divisions)
        optimizer["learning_rate"] = recipe.optimizer.learning_rate / recipe.schedule.divide_by**divisions
    return recipe.changed(
        name=recipe.derived_name("-rounded"),
        compare_frozen=False,
        schedule=schedule,
        optimizer=optimizer,
        round_and_finetune=None,
        paper=None,
    )


def _check_start(recipe: Recipe, trained: Recipe, path: Path) -> None:
    if recipe.start is None:
        raise UserError(f"{recipe.name} has no table [start], so it cannot go on from the run {path}: train it alone")
    if recipe.start.recipe != trained.name:
        raise UserError(
            f"{recipe.name} goes on from a run of {recipe.start.recipe}, but {path} is one of {trained.name}",
            Remedy(Action.TRAIN, recipe.start.recipe),
        )
    if (recipe.network, recipe.seed) != (trained.network, trained.seed):
        raise UserError(f"{recipe.name} is of another network or seed than the run {path}")
    if (recipe.data.name, recipe.data.options) != (trained.data.name, trained.data.options):
        raise UserError(f"{recipe.name} is of other data ({_data(recipe)}) than the run {path} ({_data(trained)})")


def _data(recipe: Recipe) -> str:
    return ", ".join([recipe.data.name, *(f"{name} = {value}" for name, value in dict(recipe.data.options).items())])
