"""Trains a recipe and, where it asks for that, its frozen twin: what are the learned shapes worth?

The twin is the same training with positions that stay where they start, in the sub-run `frozen`. This is what
`acu train` does; a recipe without `compare_frozen` is trained alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from acu_core.errors import Action, Remedy
from acu_core.experiments.report import TrainingReport
from acu_core.experiments.rounded_start import read_rounding, rounded_start
from acu_core.experiments.shape_recovery import shape_recovery
from acu_core.learn.evaluation import Evaluation
from acu_core.learn.joined_processes import joined
from acu_core.learn.schedule import positions_never_move
from acu_core.learn.workplace import Workplace
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.begin import create_run, prepare
from acu_core.train.environment import describe
from acu_core.train.events import Events, heard_by, tell_run
from acu_core.train.interruption import Interruption
from acu_core.train.resume import (
    Session,
    TrainedNetwork,
    begun,
    locked,
    resumed,
    stored_state,
    train_session,
)
from acu_core.train.stored_run import StoredRun

FROZEN = "frozen"
"""Name of the sub-run with frozen positions."""


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
    loaded once. Nothing is written before the recipe, the device and the data have proved usable. On a signal that
    asks to stop it saves and returns, with `stopped_by` set. Raises UserError for what the user can put right,
    DivergedError among them. Where the environment announces several processes, as torchrun does, they train this one
    run together and get the same report; when one fails, the others raise AnotherFailedError.
    """
    with joined() if place is None else nullcontext(place.processes) as processes:
        events = heard_by(events, processes)
        recipe, place = prepare(
            recipe, data_path=data_path, download=download, place=place, events=events, processes=processes
        )
        with begun(create_run(recipe, out, place), recipe, place) as session:
            return train_to_end(session, events)


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
    with joined() as processes:
        events = heard_by(events, processes)
        with resumed(
            path,
            overrides,
            data_path=data_path,
            download=download,
            device=device,
            events=events,
            processes=processes,
        ) as session:
            return train_to_end(session, events)


def train_to_end(session: Session, events: Events) -> TrainingReport:
    """Trains a run and its twin to their ends, and reports."""
    started = time.monotonic()
    processes = session.place.processes
    recipe, iterations = session.recipe, session.recipe.schedule.iterations
    if positions_never_move(recipe):
        events.warn(
            f"the positions never move: the warm-up (schedule.warm_up) lasts {recipe.schedule.warm_up} iterations, and "
            f"only {iterations} are trained",
            Remedy(Action.SET_KEY, "schedule.warm_up"),
        )
    with Interruption() as interruption, ExitStack() as held:
        twin = held.enter_context(_Twin(session, events)) if recipe.compare_frozen else None
        done = [reached.iteration if reached else 0 for reached in (session.checkpoint, twin and twin.checkpoint)]
        tell_run(events, session.run.path)
        events.begin(iterations * (2 if twin is not None else 1), sum(done))

        def train_one(part: Session, stage: str, elsewhere: int) -> TrainedNetwork:
            return train_session(
                part,
                initial_state=_initial_state(part, events),
                stop=lambda: interruption.requested,
                report=lambda iteration, loss, accuracy: events.advance(elsewhere + iteration, stage, loss, accuracy),
            )

        trained = train_one(session, "training", done[1])
        compared: Evaluation | None = None
        if twin is not None and trained.evaluation is not None and not any(processes.most(interruption.requested)):
            compared = train_one(twin.session(), "frozen positions", trained.iteration).evaluation
    # A signal that came after the last iteration changes nothing.
    complete = trained.evaluation is not None and (compared is not None or twin is None)
    names = [] if complete else [name for name in processes.collected(interruption.signal_name) if name]
    stopped_by = names[0] if names else None
    seconds = time.monotonic() - started
    return processes.from_first(lambda: _report(session, trained, compared, stopped_by, seconds))


def frozen_recipe(recipe: Recipe) -> Recipe:
    """The same training with the positions frozen where they start."""
    return recipe.changed(
        name=recipe.derived_name("-frozen"),
        compare_frozen=False,
        optimizer={"freeze_positions": True},
        round_and_finetune=None,
        paper=None,
    )


class _Twin:
    """The sub-run, locked from the time on when it is there."""

    def __init__(self, parent: Session, events: Events) -> None:
        self._parent = parent
        self._path = parent.run.path / FROZEN
        self._recipe = frozen_recipe(parent.recipe)
        self._events = events
        self._locks = ExitStack()
        self._run: RunDirectory | None = None
        self.checkpoint: Checkpoint | None = None

    def __enter__(self) -> _Twin:
        processes = self._parent.place.processes
        if processes.from_first(self._path.exists):
            try:
                self._hold(processes.from_first(lambda: StoredRun.open(self._path)).directory)
                _, self.checkpoint = processes.from_first(lambda: stored_state(self._path, self._events))
            except BaseException:
                self._locks.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._locks.close()

    def session(self) -> Session:
        """The twin, made now if it is not there yet."""
        place = self._parent.place
        if self._run is None:
            text, environment = recipe_toml(self._recipe), describe(self._recipe, place)
            self._hold(place.processes.from_first(lambda: RunDirectory.create(self._path, text, environment)))
        assert self._run is not None
        return Session(self._run, self._recipe, place, self.checkpoint)

    def _hold(self, run: RunDirectory) -> None:
        self._locks.enter_context(locked(run, self._parent.place.processes))
        self._run = run


def _initial_state(session: Session, events: Events) -> Callable[[], Mapping[str, Any]] | None:
    """What a rounded run starts with, also when it was killed before its first checkpoint."""
    if session.recipe.parent is None:
        return None

    def rounded() -> Mapping[str, Any]:
        events.note("Evaluating before and after rounding ...")
        return rounded_start(session.run, session.recipe, session.place)

    return rounded


def _report(
    session: Session, trained: TrainedNetwork, compared: Evaluation | None, stopped_by: str | None, seconds: float
) -> TrainingReport:
    data = session.place.data
    hidden = data.hidden_positions
    layers = list(active_layers(trained.model).values())
    learned = layers[0].positions.detach().cpu() if len(layers) == 1 else None
    known = hidden is not None and learned is not None and learned.shape == hidden.shape
    return TrainingReport(
        run=str(session.run.path),
        recipe=session.recipe.name,
        iteration=trained.iteration,
        iterations=session.recipe.schedule.iterations,
        seconds=seconds,
        classes=data.classes,
        active_layers=len(layers),
        test_part=data.test_part,
        stopped_by=stopped_by,
        evaluation=trained.evaluation,
        recovery=shape_recovery(learned, hidden) if known and learned is not None and hidden is not None else None,
        learned_positions=learned.tolist() if known and learned is not None else None,
        hidden_positions=hidden.tolist() if known and hidden is not None else None,
        frozen=compared,
        rounding=read_rounding(session.run),
    )
