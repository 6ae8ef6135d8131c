"""Runs that are trained one after the other, or several at once: can be stopped, go on, and repeat nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from acu_core.errors import Remedy, UserError
from acu_core.experiments.report import TrainingReport
from acu_core.learn.workplace import Workplace
from acu_core.recipe.schema import Recipe
from acu_core.reproduce.job_queue import train_at_once
from acu_core.reproduce.order import Order, carry_out
from acu_core.reproduce.plan import PlannedRun, RunState, check_same_data, read_state
from acu_core.reproduce.shared_threads import threads_of_each
from acu_core.runs.run_lock import hold_lock
from acu_core.train.environment import new_workplace
from acu_core.train.events import Events, tell_run

Look = Callable[[], tuple[Sequence[PlannedRun], Mapping[Path, RunState]]]
"""Says which runs there are to be, and how far they are. Raises UserError where other settings were used for one."""


class Place(Protocol):
    """Where runs are trained, and on what."""

    @property
    def directory(self) -> Path:
        """Where the runs lie."""

    @property
    def data(self) -> Path | None:
        """The data set, where it is not the recipe's own place."""

    @property
    def device(self) -> str | None:
        """The device, where it is not the recipe's."""

    @property
    def download(self) -> bool:
        """Whether the data set may be downloaded."""

    @property
    def jobs(self) -> int:
        """How many runs are trained at once, each by a process of its own where it is more than one."""


class Series:
    """The training of several runs. `states` says how far they are, `problems` what went wrong, by their paths."""

    def __init__(self, place: Place, look: Look, written: Callable[[Series], None], events: Events) -> None:
        """`written` is called after every run, when `states` and `problems` are what is on disk."""
        self._request = place
        self._events = events
        self._look = look
        self._written = written
        self._loaded: tuple[Hashable, Workplace] | None = None
        self._threads = 0
        self.runs, self.states = look()
        self.problems: dict[Path, str] = {}

    def train(self) -> str | None:
        """Trains what is missing; the name of the signal that stopped it, if one did.

        A run that fails is a problem, and the others go on. On SIGINT, SIGTERM and SIGHUP what is being trained is
        saved. Raises UserError, and changes nothing, for data that cannot be used.
        """
        if self._request.jobs < 1:
            raise UserError(f"at least one run is trained at once, got {self._request.jobs}")
        pending = self._pending()
        new = [run for run in pending if not self.states[run.path].exists]
        self._threads = threads_of_each(self.runs, self.states, self._request.jobs, self._events)
        # And where several jobs may have to download it, it is there before they begin.
        looked_for = self._request.data is not None or (self._request.download and self._request.jobs > 1)
        if new or (pending and looked_for):
            # Before anything is written, and before hours are spent: is the data there, and is it the same as before?
            # The first one's comes last: it is then loaded already.
            for run in reversed(_one_of_each_data(new or pending)):
                self._prepare(run)
        directory = self._request.directory
        directory.mkdir(parents=True, exist_ok=True)
        with hold_lock(directory / ".lock"):
            # Another process may have trained some of them while the data was loaded.
            self.runs, self.states = self._look()
            pending = self._pending()
            if self._request.jobs == 1:
                stopped_by = self._train_all(pending)
            else:
                # Each process loads its own.
                self._loaded = None
                stopped_by = train_at_once(
                    pending,
                    self._request.jobs,
                    order=self._order,
                    states=lambda: self.states,
                    ended=self._ended,
                    events=self._events,
                )
            self._update(self.runs)
        return stopped_by

    def _pending(self) -> list[PlannedRun]:
        return [run for run in self.runs if not self.states[run.path].done]

    def _update(self, runs: Sequence[PlannedRun]) -> None:
        self.states = {**self.states, **{run.path: read_state(run) for run in runs}}
        self._written(self)

    def _prepare(self, run: PlannedRun) -> Workplace:
        needed = place_key(run.recipe)
        if self._loaded is None or self._loaded[0] != needed:
            # First let go of: two data sets may be more than the memory holds.
            self._loaded = None
            place = new_workplace(
                run.recipe, data_path=self._request.data, download=self._request.download, events=self._events
            )
            same = {other.path: self.states[other.path] for other in self.runs if place_key(other.recipe) == needed}
            check_same_data(same, place.data.fingerprint)
            if not run.recipe.machine.threads:
                place = dataclasses.replace(place, threads=self._threads)
            self._loaded = needed, place
        return self._loaded[1]

    def _train_all(self, pending: Sequence[PlannedRun]) -> str | None:
        total = sum(run.iterations for run in pending)
        self._events.begin(total, sum(self.states[run.path].iteration for run in pending))
        before = 0
        for number, run in enumerate(pending, start=1):
            title = f"{number} of {len(pending)}: {run.row.name}, seed {run.seed}"
            try:
                report = self._train_one(run, _Share(self._events, title, before))
            except KeyboardInterrupt:
                # Between two trainings, or a second time within one: the run's last checkpoint stands.
                return "SIGINT"
            except (UserError, RuntimeError, OSError) as error:
                self._ended(run, str(error), error.remedies if isinstance(error, UserError) else ())
            else:
                if report.stopped_by is not None:
                    return report.stopped_by
                self._ended(run, None, ())
            before += run.iterations
        return None

    def _ended(self, run: PlannedRun, problem: str | None, remedies: Sequence[Remedy]) -> None:
        if problem is not None:
            self.problems[run.path] = " ".join(problem.split())
            self._events.warn(
                f"{run.row.name}, seed {run.seed}, failed, going on with the others: {problem}", *remedies
            )
        self._update([run])

    def _train_one(self, run: PlannedRun, events: Events) -> TrainingReport:
        return carry_out(self._order(run), lambda: self._prepare(run), events)

    def _order(self, run: PlannedRun) -> Order:
        request = self._request
        exists = self.states[run.path].exists
        if run.parent is not None and not exists:
            parent = next(other for other in self.runs if other.path == run.parent)
            if not read_state(parent).done:
                raise UserError(f"it starts from {parent.path}, which is not finished")
        return Order(
            run.recipe, run.path, exists, run.parent, request.data, request.download, request.device, self._threads
        )


def place_key(recipe: Recipe) -> Hashable:
    """The same for recipes that are trained on the same data in the same place, which is then loaded once."""
    data, machine = recipe.data, recipe.machine
    # Data that are made are made from the seed, and by it images are held out.
    seed = recipe.seed if data.is_made or data.validation_images else None
    held_out = data.validation_images
    return repr((data.name, data.path, data.options, held_out, seed, machine.device, machine.threads, machine.workers))


def _one_of_each_data(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The first run, and the first one of every other data set that is read: what is made is there for every run."""
    first: dict[Hashable, PlannedRun] = {}
    for run in runs:
        data = run.recipe.data
        if not first or not data.is_made:
            first.setdefault(repr((data.name, data.path, data.options)), run)
    return list(first.values())


class _Share:
    """One run's part of the whole work: its events, counted on from those of the runs before it."""

    def __init__(self, events: Events, title: str, before: int) -> None:
        self._events = events
        self._title = title
        self._before = before

    def begin_run(self, run: Path) -> None:
        tell_run(self._events, run)

    def begin(self, total: int, done: int) -> None:
        """The whole work has begun already."""

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        self._events.advance(self._before + done, self._title, loss, accuracy)

    def note(self, text: str) -> None:
        self._events.note(text)

    def warn(self, text: str, *remedies: Remedy) -> None:
        self._events.warn(f"{self._title}: {text}", *remedies)
