"""Trains a recipe in a run directory, or goes on with a run."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from acu_core.errors import UserError
from acu_core.nn import active_layers
from acu_core.runs import Checkpoint, RunDirectory, SnapshotFile, load_latest_checkpoint
from acu_core.train.environment import (
    Workplace,
    computing,
    describe,
    has_conditions,
    new_workplace,
    recorded_workplace,
)
from acu_core.train.evaluation import Evaluation
from acu_core.train.events import Events, NoEvents
from acu_core.train.interruption import Interruption
from acu_core.train.network_training import NetworkTraining, new_network
from acu_core.train.recipe import Recipe
from acu_core.train.recipe_file import parse_recipe, recipe_toml
from acu_core.train.recovery import shape_recovery
from acu_core.train.report import TrainingReport
from acu_core.train.rounded_start import read_rounding, rounded_start

RUNS = Path("runs")
FROZEN = "frozen"
"""Name of the sub-run with frozen positions."""
_EXTENDABLE = ("schedule.iterations", "schedule.divisions", "schedule.evaluate_every", "schedule.checkpoint_every")


def train(
    recipe: Recipe,
    out: Path | None = None,
    *,
    data_path: Path | None = None,
    download: bool = False,
    place: Workplace | None = None,
    events: Events | None = None,
) -> TrainingReport:
    """Trains `recipe` in a new run at `out`, by default `runs/<recipe>-<n>` with the next free n.

    `place` is where several recipes with the same data and machine are trained one after the other: the data is then
    loaded once. Nothing is written before the recipe, the device and the data have proved usable. On SIGINT and
    SIGTERM it saves and returns, with `stopped_by` set. Raises UserError for what the user can put right,
    DivergedError among them.
    """
    events = events or NoEvents()
    if recipe.start is not None:
        raise UserError(
            f"{recipe.name} goes on from a finished run of {recipe.start.recipe}: train that first (`acu train "
            f"{recipe.start.recipe}`), then `acu round-and-finetune RUN` does what this recipe says"
        )
    if data_path is not None:
        recipe = recipe.changed(data={"path": os.path.abspath(data_path)})
    place = place or new_workplace(recipe, data_path=data_path, download=download, events=events)
    with computing(place.threads):
        # Built twice, so that a recipe whose network cannot be built leaves no directory behind.
        new_network(recipe, place)
    return train_in(create_run(recipe, out, place), recipe, place, events)


def train_in(run: RunDirectory, recipe: Recipe, place: Workplace, events: Events) -> TrainingReport:
    """Trains in a run directory that was just created."""
    with run.lock(), computing(place.threads):
        return _Stages(run, recipe, place, events).train(None)


def resume(
    path: Path,
    overrides: Iterable[str] = (),
    *,
    data_path: Path | None = None,
    download: bool = False,
    device: str | None = None,
    events: Events | None = None,
) -> TrainingReport:
    """Goes on with the run at `path` from its newest checkpoint; `overrides` may extend its schedule.

    On the same CPU, with the recorded thread count, the result has the same bits as an uninterrupted run's. Raises
    UserError, and changes nothing, when the run, its data or the overrides cannot be used.
    """
    events = events or NoEvents()
    run = RunDirectory.open(path)
    with run.lock():
        checkpoint = load_latest_checkpoint(run)
        if checkpoint is None:
            _refuse_lost_checkpoints(run)
        elif checkpoint.skipped:
            names = ", ".join(skipped.name for skipped in checkpoint.skipped)
            events.warn(f"{names} cannot be loaded; going on from iteration {checkpoint.iteration}")
        old = parse_recipe(run.recipe_toml, str(run.path / "recipe.toml"))
        recipe = extended(old, list(overrides), run, checkpoint.iteration if checkpoint else 0)
        place = recorded_workplace(
            recipe, run.environment, data_path=data_path, download=download, device=device, events=events
        )
        if checkpoint and checkpoint.iteration and recipe.optimizer.momentum and not _has_momentum(checkpoint):
            events.warn(f"{checkpoint.path} holds no momentum, it was imported: the momentum starts at zero")
        if recipe != old:
            run.replace_recipe(recipe_toml(recipe))
        if not has_conditions(run.environment):
            run.replace_environment({**run.environment, **describe(recipe, place)})
        with computing(place.threads):
            return _Stages(run, recipe, place, events).train(checkpoint)


def extended(recipe: Recipe, overrides: list[str], run: RunDirectory, reached: int) -> Recipe:
    """The run's recipe with its schedule changed beyond iteration `reached`. Raises UserError for any other change."""
    refused = [text.partition("=")[0] for text in overrides if text.partition("=")[0].strip() not in _EXTENDABLE]
    if refused:
        raise UserError(
            f"{', '.join(refused)} cannot change in a run that has begun (only {', '.join(_EXTENDABLE)} can): "
            "start a new run with it"
        )
    changed = parse_recipe(recipe_toml(recipe), str(run.path / "recipe.toml"), overrides)
    if changed.schedule.iterations < reached:
        raise UserError(
            f"{run.path} has trained {reached} iterations already: schedule.iterations must be at least that, "
            f"got {changed.schedule.iterations}"
        )
    before, after = ([d for d in r.schedule.divisions if d < reached] for r in (recipe, changed))
    if before != after:
        raise UserError(
            f"{run.path} has trained {reached} iterations with divisions at {before}: those cannot change any more"
        )
    return changed


def create_run(recipe: Recipe, out: Path | None, place: Workplace) -> RunDirectory:
    """A new run directory, at `out` or at the next free number. Raises UserError when `out` is taken."""
    text, environment = recipe_toml(recipe), describe(recipe, place)
    if out is not None:
        return RunDirectory.create(out, text, environment)
    for number in itertools.count(1):
        path = RUNS / f"{recipe.name}-{number}"
        if path.exists():
            continue
        try:
            return RunDirectory.create(path, text, environment)
        except UserError:
            # Another process may have taken the number in between.
            if not path.exists():
                raise
    raise RuntimeError("unreachable")


def _has_momentum(checkpoint: Checkpoint) -> bool:
    optimizer = checkpoint.state.get("optimizer")
    return isinstance(optimizer, dict) and bool(optimizer.get("state"))


def _refuse_lost_checkpoints(run: RunDirectory) -> None:
    """A run without checkpoints is begun anew, unless it has trained: then its snapshots would be lost."""
    if not run.positions.exists():
        return
    try:
        snapshots = len(SnapshotFile(run.positions))
    except UserError:
        # Killed while the header was written.
        return
    if snapshots > 1:
        raise UserError(
            f"{run.path} has {snapshots} snapshots but no checkpoint in {run.checkpoints}: restore one from a copy, "
            "or start a new run"
        )


def frozen_recipe(recipe: Recipe) -> Recipe:
    """The same training with the positions frozen where they start."""
    return recipe.changed(
        name=f"{recipe.name}-frozen",
        compare_frozen=False,
        optimizer={"freeze_positions": True},
        round_and_finetune=None,
        paper=None,
    )


@dataclass
class _Stages:
    """The trainings of a run: its own, and the frozen one where the recipe asks for it."""

    run: RunDirectory
    recipe: Recipe
    place: Workplace
    events: Events

    def train(self, checkpoint: Checkpoint | None) -> TrainingReport:
        started = time.monotonic()
        iterations = self.recipe.schedule.iterations
        frozen = self._open_frozen() if self.recipe.compare_frozen else None
        frozen_checkpoint = load_latest_checkpoint(frozen) if frozen is not None else None
        if frozen is not None and frozen_checkpoint is None:
            _refuse_lost_checkpoints(frozen)
        done = [c.iteration if c else 0 for c in (checkpoint, frozen_checkpoint)]
        self.events.begin(iterations * (2 if self.recipe.compare_frozen else 1), sum(done))
        with Interruption() as interruption:
            trained = self._train_one(self.run, self.recipe, checkpoint, interruption, "training", done[1])
            compared: Evaluation | None = None
            reached = trained.iteration
            if self.recipe.compare_frozen and not interruption.requested:
                recipe = frozen_recipe(self.recipe)
                frozen = frozen or RunDirectory.create(
                    self.run.path / FROZEN, recipe_toml(recipe), describe(recipe, self.place)
                )
                with frozen.lock():
                    if frozen.recipe_toml != recipe_toml(recipe):
                        frozen.replace_recipe(recipe_toml(recipe))
                    compared = self._train_one(
                        frozen, recipe, frozen_checkpoint, interruption, "frozen positions", reached
                    ).evaluation
        # A signal that came after the last iteration changes nothing.
        complete = trained.evaluation is not None and (compared is not None or not self.recipe.compare_frozen)
        return self._report(
            trained, compared, None if complete else interruption.signal_name, time.monotonic() - started
        )

    def _open_frozen(self) -> RunDirectory | None:
        path = self.run.path / FROZEN
        return RunDirectory.open(path) if path.exists() else None

    def _train_one(
        self,
        run: RunDirectory,
        recipe: Recipe,
        checkpoint: Checkpoint | None,
        interruption: Interruption,
        stage: str,
        elsewhere: int,
    ) -> NetworkTraining:
        training = NetworkTraining(
            run,
            recipe,
            self.place,
            pretrained=checkpoint is None and recipe.parent is None,
            stop=lambda: interruption.requested,
            report=lambda iteration, loss, accuracy: self.events.advance(elsewhere + iteration, stage, loss, accuracy),
        )
        try:
            if checkpoint is not None:
                training.restore(checkpoint)
            elif recipe.parent is not None:
                self.events.note("Evaluating before and after rounding ...")
                training.begin(rounded_start(run, recipe, self.place))
            else:
                training.begin()
            finished = training.run()
            if not finished:
                training.evaluation = None
        finally:
            training.close()
        return training

    def _report(
        self, trained: NetworkTraining, compared: Evaluation | None, stopped_by: str | None, seconds: float
    ) -> TrainingReport:
        hidden = self.place.data.hidden_positions
        layers = list(active_layers(trained.model).values())
        learned = layers[0].positions.detach().cpu() if len(layers) == 1 else None
        known = hidden is not None and learned is not None and learned.shape == hidden.shape
        return TrainingReport(
            run=str(self.run.path),
            recipe=self.recipe.name,
            iteration=trained.iteration,
            iterations=self.recipe.schedule.iterations,
            seconds=seconds,
            classes=self.place.data.classes,
            active_layers=len(layers),
            stopped_by=stopped_by,
            evaluation=trained.evaluation,
            recovery=shape_recovery(learned, hidden) if known and learned is not None and hidden is not None else None,
            learned_positions=learned.tolist() if known and learned is not None else None,
            hidden_positions=hidden.tolist() if known and hidden is not None else None,
            frozen=compared,
            rounding=read_rounding(self.run),
        )
