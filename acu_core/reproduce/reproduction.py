"""Trains the runs of a table, one after the other, and keeps the table's files up to date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acu_core.durable import write_text_durably
from acu_core.errors import Action, Remedy, UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.report import TrainingReport
from acu_core.experiments.rounding import round_and_finetune
from acu_core.learn.workplace import Workplace
from acu_core.reproduce.plan import PlannedRun, RunState, check_same_data, plan_runs, read_state
from acu_core.reproduce.result_text import as_json, markdown
from acu_core.reproduce.results import TableResult, table_result
from acu_core.reproduce.tables import Table, find_table
from acu_core.runs.run_lock import hold_lock
from acu_core.train.environment import new_workplace
from acu_core.train.events import Events, NoEvents, tell_run

REPRODUCTIONS = Path("reproductions")


@dataclass(frozen=True)
class Request:
    """What was asked for. `made_by` says in the table's files how it was asked for, where that is known."""

    table: str
    seeds: int = 1
    scale: float = 1.0
    data: Path | None = None
    out: Path | None = None
    device: str | None = None
    download: bool = False
    made_by: str = ""

    @property
    def directory(self) -> Path:
        """Where the table's runs and files lie."""
        return self.out if self.out is not None else REPRODUCTIONS / self.table


@dataclass(frozen=True)
class Reproduction:
    """The table as far as it has come, its files, and the signal that stopped the work, if one did."""

    result: TableResult
    files: tuple[Path, Path]
    stopped_by: str | None


def reproduce(request: Request, *, events: Events | None = None) -> Reproduction:
    """Trains what the table still needs; writes `<table>.json` and `<table>.md` into its directory after every run.

    A run that fails is named in the table, and the others go on. On SIGINT, SIGTERM and SIGHUP the run that is being
    trained is saved. Raises UserError, and changes nothing, for a request or data that cannot be used, and where the
    directory holds runs of other settings.
    """
    return _Work(request, events or NoEvents()).run()


def look(request: Request) -> tuple[Table, list[PlannedRun], dict[Path, RunState]]:
    """The table, its runs and how far they are.

    Raises UserError where other settings were used in the directory, and where there is no data for what is missing.
    """
    table = find_table(request.table)
    runs = plan_runs(table, seeds=request.seeds, scale=request.scale, out=request.directory, device=request.device)
    states = {run.path: read_state(run) for run in runs}
    check_same_data(states)
    data, complete = request.data, all(state.done for state in states.values())
    if not complete and data is not None and not request.download and not data.exists():
        raise UserError(f"there is no data set at {data}", Remedy(Action.DOWNLOAD, table.name))
    return table, runs, states


class _Work:
    """The training of a table."""

    def __init__(self, request: Request, events: Events) -> None:
        self._request = request
        self._events = events
        self._table, self._runs, self._states = look(request)
        self._problems: dict[Path, str] = {}
        self._place: Workplace | None = None

    def run(self) -> Reproduction:
        pending = [run for run in self._runs if not self._states[run.path].done]
        new = [run for run in pending if not self._states[run.path].exists]
        if new or (pending and self._request.data is not None):
            # Before anything is written, and before hours are spent: is the data there, and is it the same as before?
            self._prepare((new or pending)[0])
        directory = self._request.directory
        directory.mkdir(parents=True, exist_ok=True)
        with hold_lock(directory / ".lock"):
            # Another process may have trained some of them while the data was loaded.
            _, self._runs, self._states = look(self._request)
            stopped_by = self._train_all([run for run in self._runs if not self._states[run.path].done])
            result, files = self._write()
        return Reproduction(result, files, stopped_by)

    def _prepare(self, run: PlannedRun) -> Workplace:
        if self._place is None:
            self._place = new_workplace(
                run.recipe, data_path=self._request.data, download=self._request.download, events=self._events
            )
            check_same_data(self._states, self._place.data.fingerprint)
        return self._place

    def _train_all(self, pending: Sequence[PlannedRun]) -> str | None:
        total = sum(run.iterations for run in pending)
        self._events.begin(total, sum(self._states[run.path].iteration for run in pending))
        before = 0
        for number, run in enumerate(pending, start=1):
            title = f"{number} of {len(pending)}: {run.row.name}, seed {run.seed}"
            try:
                report = self._train_one(run, _Share(self._events, title, before))
            except KeyboardInterrupt:
                # Between two trainings, or a second time within one: the run's last checkpoint stands.
                return "SIGINT"
            except (UserError, RuntimeError, OSError) as error:
                self._problems[run.path] = " ".join(str(error).split())
                remedies = error.remedies if isinstance(error, UserError) else ()
                self._events.warn(
                    f"{run.row.name}, seed {run.seed}, failed, going on with the others: {error}", *remedies
                )
            else:
                if report.stopped_by is not None:
                    return report.stopped_by
            before += run.iterations
            self._write()
        return None

    def _train_one(self, run: PlannedRun, events: Events) -> TrainingReport:
        request = self._request
        if self._states[run.path].exists:
            return resume(
                run.path, data_path=request.data, download=request.download, device=request.device, events=events
            )
        if run.parent is None:
            place = self._prepare(run)
            return train(run.recipe, run.path, data_path=request.data, place=place, events=events)
        parent = next(other for other in self._runs if other.path == run.parent)
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

    def _write(self) -> tuple[TableResult, tuple[Path, Path]]:
        directory = self._request.directory
        self._states = {run.path: read_state(run) for run in self._runs}
        result = table_result(
            self._table,
            self._runs,
            self._states,
            self._problems,
            scale=self._request.scale,
            seeds=self._request.seeds,
            made_by=self._request.made_by,
        )
        values = json.dumps(as_json(result, directory), indent=2, allow_nan=False, ensure_ascii=False)
        return result, (
            write_text_durably(directory / f"{self._table.name}.json", values + "\n"),
            write_text_durably(directory / f"{self._table.name}.md", markdown(result, directory)),
        )


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
