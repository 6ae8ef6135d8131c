"""Runs that are trained one after the other: can be stopped, go on, and repeat nothing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from acu_core.errors import Remedy, UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.report import TrainingReport
from acu_core.experiments.rounding import round_and_finetune
from acu_core.learn.workplace import Workplace
from acu_core.recipe.schema import Recipe
from acu_core.reproduce.plan import PlannedRun, RunState, check_same_data, read_state
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


class Series:
    """The training of several runs. `states` says how far they are, `problems` what went wrong, by their paths."""

    def __init__(self, place: Place, look: Look, written: Callable[[Series], None], events: Events) -> None:
        """`written` is called after every run, when `states` and `problems` are what is on disk."""
        self._request = place
        self._events = events
        self._look = look
        self._written = written
        self._loaded: tuple[Hashable, Workplace] | None = None
        self.runs, self.states = look()
        self.problems: dict[Path, str] = {}

    def train(self) -> str | None:
        """Trains what is missing; the name of the signal that stopped it, if one did.

        A run that fails is a problem, and the others go on. On SIGINT, SIGTERM and SIGHUP the run that is being trained
        is saved. Raises UserError, and changes nothing, for data that cannot be used.
        """
        pending = self._pending()
        new = [run for run in pending if not self.states[run.path].exists]
        if new or (pending and self._request.data is not None):
            # Before anything is written, and before hours are spent: is the data there, and is it the same as before?
            # The first one's comes last: it is then loaded already.
            for run in reversed(_one_of_each_data(new or pending)):
                self._prepare(run)
        directory = self._request.directory
        directory.mkdir(parents=True, exist_ok=True)
        with hold_lock(directory / ".lock"):
            # Another process may have trained some of them while the data was loaded.
            self.runs, self.states = self._look()
            stopped_by = self._train_all(self._pending())
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
                self.problems[run.path] = " ".join(str(error).split())
                remedies = error.remedies if isinstance(error, UserError) else ()
                self._events.warn(
                    f"{run.row.name}, seed {run.seed}, failed, going on with the others: {error}", *remedies
                )
            else:
                if report.stopped_by is not None:
                    return report.stopped_by
            before += run.iterations
            self._update([run])
        return None

    def _train_one(self, run: PlannedRun, events: Events) -> TrainingReport:
        request = self._request
        if self.states[run.path].exists:
            return resume(
                run.path, data_path=request.data, download=request.download, device=request.device, events=events
            )
        if run.parent is None:
            place = self._prepare(run)
            return train(run.recipe, run.path, data_path=request.data, place=place, events=events)
        parent = next(other for other in self.runs if other.path == run.parent)
        if not read_state(parent).done:
            raise UserError(f"it starts from {parent.path}, which is not finished")
        return round_and_finetune(
            run.parent,
            run.path,
            recipe=run.recipe,
            data_path=request.data,
            download=request.download,
            device=request.device,
            events=events,
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
