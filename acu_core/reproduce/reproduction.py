"""Trains the runs of a table, one after the other or several at once, and keeps the table's files up to date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from acu_core.durable import write_text_durably
from acu_core.errors import Action, Remedy, UserError
from acu_core.reproduce.plan import PlannedRun, RunState, check_same_data, plan_runs, read_state
from acu_core.reproduce.result_text import as_json, markdown
from acu_core.reproduce.results import TableResult, table_result
from acu_core.reproduce.series import Series
from acu_core.reproduce.tables import Table, find_table
from acu_core.train.events import Events, NoEvents

REPRODUCTIONS = Path("reproductions")


@dataclass(frozen=True)
class Request:
    """What was asked for. `made_by` says in the table's files how it was asked for, where that is known.

    How many `jobs` are trained at once changes no result, and no file says it.
    """

    table: str
    seeds: int = 1
    scale: float = 1.0
    data: Path | None = None
    out: Path | None = None
    device: str | None = None
    download: bool = False
    made_by: str = ""
    jobs: int = 1

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

    A run that fails is named in the table, and the others go on. On SIGINT, SIGTERM and SIGHUP what is being trained
    is saved. Raises UserError, and changes nothing, for a request or data that cannot be used, and where the
    directory holds runs of other settings.
    """
    table = find_table(request.table)
    written: list[tuple[TableResult, tuple[Path, Path]]] = []
    series = Series(
        request,
        lambda: look(request)[1:],
        lambda series: written.append(_write(request, table, series)),
        events or NoEvents(),
    )
    stopped_by = series.train()
    result, files = written[-1]
    return Reproduction(result, files, stopped_by)


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


def _write(request: Request, table: Table, series: Series) -> tuple[TableResult, tuple[Path, Path]]:
    directory = request.directory
    result = table_result(
        table,
        series.runs,
        series.states,
        series.problems,
        scale=request.scale,
        seeds=request.seeds,
        made_by=request.made_by,
    )
    values = json.dumps(as_json(result, directory), indent=2, allow_nan=False, ensure_ascii=False)
    return result, (
        write_text_durably(directory / f"{table.name}.json", values + "\n"),
        write_text_durably(directory / f"{table.name}.md", markdown(result, directory)),
    )
