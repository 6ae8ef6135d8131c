"""A table as text cells, as Markdown and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acu_core.report.difference import LEVEL, Difference
from acu_core.reproduce.results import RowResult, RunResult, TableResult
from acu_core.reproduce.scaling import LEAST_ITERATIONS

NONE = "-"


def remarks(result: TableResult) -> list[str]:
    """What a reader must know before the figures: a shortened schedule, missing runs, runs that failed."""
    found = []
    if result.scale != 1:
        found.append(
            f"A trial: every schedule is shortened to {result.scale:g} of the paper's ({LEAST_ITERATIONS} iterations "
            "at least), so the figures cannot be compared with the paper's."
        )
    if result.done < result.runs:
        found.append(f"Unfinished: {result.done} of {result.runs} runs are done.")
    for row in result.rows:
        found += [
            f"{row.row.name}, seed {run.seed}, failed: {run.problem}" for run in row.runs if run.problem is not None
        ]
    return found


def columns(result: TableResult) -> list[str]:
    """The names of the columns of `cells`."""
    measure, interval = result.measure, f"{100 * LEVEL:g} % interval"
    if not result.table.of_paper:
        return ["row", measure, "spread", "n", "improvement", interval]
    paper, ours = f"paper, {measure}", f"ours, {measure}"
    return ["row", paper, ours, "spread", "n", "paper's improvement", "our improvement", interval]


def cells(result: TableResult) -> list[list[str]]:
    """One list of texts a row; improvements are in points over the row's base, the spread is the sample deviation."""
    return [_cells(row) for row in result.rows]


def _cells(row: RowResult) -> list[str]:
    n = f"{row.n}" if row.n == len(row.runs) else f"{row.n} of {len(row.runs)}"
    ours = [_number(row.mean), _number(row.spread), n]
    found = [_points(row.improvement), _interval(row.better)]
    if row.paper is None:
        return [row.row.name, *ours, *found]
    return [row.row.name, _number(row.paper.result), *ours, _points(row.paper.improvement), *found]


def conditions(facts: Mapping[str, Any]) -> str:
    """The hardware and the versions of an `environment.json`, as one phrase."""
    operator, versions = facts.get("operator", {}), facts.get("versions", {})
    where = facts.get("processor_name") or facts.get("processor") or "an unknown processor"
    if facts.get("device") not in (None, "cpu"):
        where = f"{facts.get('device_name')} ({facts['device']}), {where}"
    kernels = f"compiled operator ({operator.get('instruction_set')})" if operator.get("compiled") else "reference"
    names = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    return f"{where}, {facts.get('threads')} threads, {facts.get('memory_format')}, {kernels}; {names}"


def markdown(result: TableResult, directory: Path) -> str:
    """The whole table as a Markdown page; paths are relative to `directory`."""
    lines = [f"# {result.table.title}", ""]
    lines += [f"Made by `{result.made_by}`.", ""] if result.made_by else []
    for remark in remarks(result):
        lines += [f"**{_escaped(remark)}**", ""]
    lines += _table(columns(result), cells(result))
    lines += [
        "",
        "Ours is the mean over n seeds, the spread their sample standard deviation (from two seeds on). Improvements "
        "are in points over the row's base, over the seeds that both have, with their interval (paired t); where it "
        "holds 0, these seeds do not show which is better. What the paper does not say is assumed, as each recipe's "
        "header tells.",
        "",
        "## Runs",
        "",
    ]
    lines += _table(
        ["row", "seed", "run", "iterations", result.measure, "errors", "seconds"],
        [[row.row.name, *_run_cells(run, directory)] for row in result.rows for run in row.runs],
    )
    if result.conditions:
        lines += ["", "## Conditions", ""]
    for facts, paths in result.conditions:
        names = ", ".join(_relative(path, directory) for path in paths)
        which = "" if len(result.conditions) == 1 else f": {names}"
        lines.append(f"- {_escaped(conditions(facts))}{which}")
    return "\n".join(lines) + "\n"


def as_json(result: TableResult, directory: Path) -> dict[str, Any]:
    """The table as plain values; `value`, `mean`, `spread` and `result` are in the measure, improvements in points."""
    return {
        "table": result.table.name,
        "title": result.table.title,
        "made_by": result.made_by,
        "measure": result.measure,
        "scale": result.scale,
        "seeds": result.seeds,
        "runs_planned": result.runs,
        "runs_finished": result.done,
        "finished": result.done == result.runs,
        "rows": [_row_json(row, directory) for row in result.rows],
        "conditions": [
            {**facts, "runs": [_relative(path, directory) for path in paths]} for facts, paths in result.conditions
        ],
    }


def _row_json(row: RowResult, directory: Path) -> dict[str, Any]:
    return {
        "row": row.row.name,
        "recipe": row.row.recipe,
        "base": row.base,
        "paper": None if row.paper is None else {"result": row.paper.result, "improvement": row.paper.improvement},
        "n": row.n,
        "mean": row.mean,
        "spread": row.spread,
        "improvement": row.improvement,
        "interval": None if row.better is None or row.better.interval is None else list(row.better.interval),
        "runs": [
            {
                "seed": run.seed,
                "run": _relative(run.path, directory),
                "state": run.state,
                "iteration": run.iteration,
                "iterations": run.iterations,
                "value": run.value,
                "errors": run.errors,
                "images": run.images,
                "seconds": run.seconds,
                "problem": run.problem,
            }
            for run in row.runs
        ],
    }


def _run_cells(run: RunResult, directory: Path) -> list[str]:
    reached = f"{run.iterations:,}" if run.state == "done" else f"{run.iteration:,} of {run.iterations:,}"
    errors = f"{run.errors:,} of {run.images:,}" if run.errors is not None and run.images is not None else NONE
    seconds = f"{run.seconds:.0f}" if run.seconds is not None else NONE
    path = f"`{_relative(run.path, directory)}`" if run.state != "waiting" else NONE
    return [str(run.seed), path, reached, _number(run.value), errors, seconds]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [names, ["---"] * len(names), *rows]
    return ["| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _relative(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _interval(better: Difference | None) -> str:
    if better is None or better.interval is None:
        return NONE
    low, high = better.interval
    return f"{_points(low)} to {_points(high)}"


def _points(value: float | None) -> str:
    # Not "-0.00": what rounds to nothing is neither better nor worse.
    return NONE if value is None else f"{round(value, 2) + 0.0:+.2f}"
