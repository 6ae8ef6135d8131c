"""`acu runs`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acu_cli import terminal

if TYPE_CHECKING:
    from acu_cli.run_standing import RunStanding


def runs(
    directory: Annotated[Path, typer.Argument(help="The directory of the runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the runs of a directory: how far each is, and its last test error."""
    from acu_cli.run_standing import RunStanding, find_runs

    found = [RunStanding.of(path) for path in find_runs(directory)]
    if json:
        terminal.json({"directory": str(directory), "runs": [_as_json(run) for run in found]})
        return
    if not found:
        terminal.print(f"There are no runs in {directory}.")
        return
    terminal.table(
        ["run", "recipe", "iteration", "", "test error", "written", "size"], [_as_cells(run) for run in found]
    )
    for run in found:
        if run.problem is not None:
            terminal.warning(run.problem)


def _as_cells(run: RunStanding) -> list[str]:
    # Exactly as many as there are images: 7.4 % and 7.42 % are different results.
    error = "" if run.test_error is None else f"{run.test_error:.2f} % at {run.test_error_iteration:,}"
    return [
        run.path.name,
        run.recipe,
        f"{run.iteration:,} of {run.iterations:,}",
        run.condition,
        error,
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.written)),
        _size(run.bytes),
    ]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _as_json(run: RunStanding) -> dict[str, Any]:
    from dataclasses import asdict

    values = asdict(run)
    path, _ = str(values.pop("path")), values.pop("written")
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.written))
    return {"run": path, **values, "last_written": written}
