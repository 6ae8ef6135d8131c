"""Goes on with a run, and trains one run to its end: what is begun and what is resumed come together here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from acu_core.errors import UserError
from acu_core.learn.evaluated_moment import EvaluatedMoment
from acu_core.learn.evaluation import Evaluation
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.workplace import Workplace, computing
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint, list_checkpoints
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.runs.snapshot_header import TruncatedHeaderError
from acu_core.train.environment import describe, has_conditions
from acu_core.train.events import Events
from acu_core.train.run_recipe import extended, run_recipe
from acu_core.train.run_training import RunTraining
from acu_core.train.stored_run import StoredRun


@dataclass(frozen=True)
class Session:
    """A locked run that is ready to be trained, from `checkpoint` on or, without one, from its beginning."""

    run: RunDirectory
    recipe: Recipe
    place: Workplace
    checkpoint: Checkpoint | None


@dataclass(frozen=True)
class TrainedNetwork:
    """What the training of one run came to; `evaluated` is None when it was stopped before its end."""

    model: nn.Module
    iteration: int
    evaluated: EvaluatedMoment | None
    best_iteration: int | None = None
    """The kept one that errs least on the validation images, where the recipe asks for it."""

    @property
    def evaluation(self) -> Evaluation | None:
        """Of the network itself, on the test images."""
        return self.evaluated.test if self.evaluated is not None else None


@contextmanager
def begun(run: RunDirectory, recipe: Recipe, place: Workplace) -> Iterator[Session]:
    """Holds a run that was just created."""
    with locked(run, place.processes), computing(place.threads):
        yield Session(run, recipe, place, None)


@contextmanager
def resumed(
    path: Path,
    overrides: Iterable[str],
    *,
    data_path: Path | None,
    download: bool,
    device: str | None,
    events: Events,
    processes: Processes = ALONE,
) -> Iterator[Session]:
    """Holds the run at `path`; `overrides` may extend its schedule.

    Nothing on disk changes before its training begins. Raises UserError when the run, its data or the overrides cannot
    be used.
    """
    # Opened twice: before the lock to say that there is no run, in it because another process may just have ended.
    with locked(processes.from_first(lambda: StoredRun.open(path)).directory, processes):
        # The first of several processes reads them for all.
        stored, checkpoint = processes.from_first(lambda: stored_state(path, events))
        recipe = extended(stored.recipe, stored.path, list(overrides), checkpoint.iteration if checkpoint else 0)
        if checkpoint is not None and processes.leads:
            _warn_of_lost_keeps(stored, recipe, checkpoint, events)
        place = stored.workplace(
            recipe, data_path=data_path, download=download, device=device, events=events, processes=processes
        )
        if checkpoint and checkpoint.iteration and recipe.optimizer.keeps_state and not checkpoint.optimizer["state"]:
            if checkpoint.iteration not in processes.from_first(lambda: stored.directory.imported_iterations):
                raise UserError(f"{checkpoint.path} is damaged: it holds no momentum, and it was not imported")
            events.warn(f"{checkpoint.path} holds no momentum, it was imported: the momentum starts at zero")
        facts = checkpoint.facts if checkpoint else None
        if processes.leads and facts is not None and facts.environment != stored.directory.environment_sha256:
            events.warn(
                f"{stored.path / 'environment.json'} was changed since the run was saved: its bits may differ from an "
                "uninterrupted run's"
            )
        with computing(place.threads):
            yield Session(stored.directory, recipe, place, checkpoint)


def _warn_of_lost_keeps(stored: StoredRun, recipe: Recipe, checkpoint: Checkpoint, events: Events) -> None:
    there = {number for number, _ in list_checkpoints(stored.directory)}
    asked = set(recipe.schedule.keep) - set(stored.recipe.schedule.keep) - there
    lost = sorted(iteration for iteration in asked if iteration < checkpoint.iteration)
    if lost:
        events.warn(
            f"schedule.keep names iterations that are trained already and of which there is no checkpoint any more "
            f"({', '.join(map(str, lost))}): only later ones are kept from now on"
        )


def stored_state(path: Path, events: Events) -> tuple[StoredRun, Checkpoint | None]:
    """A locked run and its newest checkpoint. Raises UserError when it is damaged."""
    stored = StoredRun.open(path)
    checkpoint = stored.newest_checkpoint(events)
    if checkpoint is None:
        refuse_lost_checkpoints(stored.directory)
    return stored, checkpoint


@contextmanager
def locked(run: RunDirectory, processes: Processes) -> Iterator[None]:
    """Holds a run, which the first of several processes does for all. Raises UserError when others hold it."""
    with run.lock() if processes.leads else nullcontext():
        yield


def train_session(
    session: Session,
    *,
    initial_state: Callable[[], Mapping[str, Any]] | None = None,
    stop: Callable[[], bool],
    report: Callable[[int, float, float], None],
) -> TrainedNetwork:
    """Trains a run to its recipe's end, or until `stop()`: saved either way.

    A run without a checkpoint starts with `initial_state()` where that is given. The recipe is written into the run
    once everything that can be refused was accepted. Raises UserError, DivergedError among them.
    """
    run, recipe, checkpoint = session.run, session.recipe, session.checkpoint
    training = RunTraining(
        run,
        recipe,
        session.place,
        pretrained=checkpoint is None and initial_state is None,
        stop=stop,
        report=report,
    )
    try:
        if checkpoint is not None:
            training.restore(checkpoint)
        else:
            training.begin(initial_state() if initial_state is not None else None)
        with session.place.processes.together():
            if session.place.processes.leads:
                _record(session)
        finished = training.run()
    finally:
        training.close()
    evaluated = training.evaluated if finished else None
    return TrainedNetwork(training.model, training.iteration, evaluated, training.best_iteration)


def _record(session: Session) -> None:
    run = session.run
    if run_recipe(run) != session.recipe:
        run.replace_recipe(recipe_toml(session.recipe))
    environment = run.environment
    if not has_conditions(environment):
        run.replace_environment({**environment, **describe(session.recipe, session.place)})


def refuse_lost_checkpoints(run: RunDirectory) -> None:
    """A run without checkpoints is begun anew, unless it has trained: then its records would be lost."""
    restore = f"but no checkpoint in {run.checkpoints}: restore one from a copy, or start a new run"
    try:
        snapshots = len(SnapshotFile(run.positions)) if run.positions.exists() else 0
    except TruncatedHeaderError:
        # Killed while the header was written.
        snapshots = 0
    if snapshots > 1:
        raise UserError(f"{run.path} has {snapshots} snapshots {restore}")
    if run.metrics.exists() and run.metrics.stat().st_size:
        raise UserError(f"{run.path} has records in {run.metrics.name} {restore}")
