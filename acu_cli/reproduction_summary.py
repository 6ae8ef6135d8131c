"""Prints a table of the paper beside ours, or what it would take to train it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from acu_cli import terminal
from acu_cli.series_options import with_jobs

if TYPE_CHECKING:
    from acu_core.reproduce.estimate import Estimate
    from acu_core.reproduce.plan import PlannedRun, RunState
    from acu_core.reproduce.reproduction import Reproduction, Request
    from acu_core.reproduce.tables import Table


def conclude(request: Request, reproduction: Reproduction, *, as_json: bool) -> None:
    """Prints the table, and how to go on. Ends with 128 + the signal's number if stopped, with 1 if a run failed."""
    from acu_core.reproduce.result_text import as_json as plain_values
    from acu_core.reproduce.result_text import cells, columns, remarks

    result = reproduction.result
    if as_json:
        terminal.json({"directory": str(request.directory), **plain_values(result, request.directory)})
    else:
        for remark in remarks(result):
            terminal.print(remark, style="bold")
        terminal.table(columns(result), cells(result), title=result.table.title)
        terminal.print(f"Written to {reproduction.files[1]} and {reproduction.files[0]}.")
    if reproduction.stopped_by is not None:
        say = terminal.note if as_json else terminal.print
        command = f"{request.made_by}{with_jobs(request.jobs)}"
        say(f"Stopped by {reproduction.stopped_by}; everything is saved. Go on with: {command}")
        raise typer.Exit(128 + signal.Signals[reproduction.stopped_by].value)
    if result.done < result.runs:
        raise typer.Exit(1)


def announce(
    request: Request,
    table: Table,
    runs: Sequence[PlannedRun],
    states: Mapping[Path, RunState],
    *,
    as_json: bool,
) -> None:
    """Prints the runs that a table needs, how far they are, and how long the rest will take."""
    head = {
        "table": table.name,
        "made_by": request.made_by,
        "directory": str(request.directory),
        "scale": request.scale,
        "seeds": request.seeds,
    }
    print_plan(head, table.title, runs, states, as_json=as_json)


def print_plan(
    head: Mapping[str, object],
    title: str,
    runs: Sequence[PlannedRun],
    states: Mapping[Path, RunState],
    *,
    as_json: bool,
) -> None:
    """Prints planned runs, under `title` or, as JSON, after what `head` says of them."""
    from acu_core.reproduce.estimate import estimate_runs

    estimates = estimate_runs(runs, states, note=terminal.note)
    total = sum(estimate.seconds for estimate in estimates.values())
    if as_json:
        terminal.json(
            {
                **head,
                "seconds": total,
                "runs": [_run_json(run, states[run.path], estimates[run.path]) for run in runs],
            }
        )
        return
    rows = [
        [
            run.row.name,
            str(run.seed),
            str(run.path),
            _progress(run, states[run.path]),
            _time(states[run.path], estimates[run.path]),
        ]
        for run in runs
    ]
    terminal.table(["row", "seed", "run", "iterations", "time"], rows, title=title)
    left = sum(not state.done for state in states.values())
    terminal.print(
        f"{left} of {len(runs)} runs to train, about {terminal.duration(total)} on this machine, one run at a time "
        "(estimated from the timings of runs of the same recipe in that directory where there are any, else from a "
        "few steps just measured). Nothing was trained."
    )


def _run_json(run: PlannedRun, state: RunState, estimate: Estimate) -> dict[str, object]:
    pace = estimate.pace
    return {
        "row": run.row.name,
        "recipe": run.row.recipe,
        "seed": run.seed,
        "run": str(run.path),
        "finished": state.done,
        "iteration": state.iteration,
        "iterations": run.iterations,
        "seconds": estimate.seconds,
        "seconds_per_iteration": pace.iteration if pace is not None else None,
        "seconds_per_evaluation": pace.evaluation if pace is not None else None,
        "estimated_from": pace.source if pace is not None else None,
    }


def _progress(run: PlannedRun, state: RunState) -> str:
    return f"{run.iterations:,}" if not state.iteration else f"{state.iteration:,} of {run.iterations:,}"


def _time(state: RunState, estimate: Estimate) -> str:
    if state.done:
        return "done"
    if estimate.pace is None:
        return "unknown"
    return f"{terminal.duration(estimate.seconds)} ({estimate.pace.source})"
