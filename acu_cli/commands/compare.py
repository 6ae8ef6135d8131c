"""`acu compare`: which recipe is better, and whether that is luck."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acu_core.report.comparison import Comparison


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Runs, or directories of runs.", show_default=False)
    ],
    base: Annotated[
        Path | None,
        typer.Option(help="The run whose recipe the others are compared with. Default: the first.", show_default=False),
    ] = None,
    iteration: Annotated[
        int | None,
        typer.Option(min=0, help="Compare at this iteration, not at the end of each run.", show_default=False),
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Also compare the runs' twins with frozen positions.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the errors over iterations: a .png, .svg or .pdf.", show_default=False),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare runs: grouped by recipe, paired by seed, with 95 % intervals, and no winner where 0 lies within."""
    from acu_core.errors import UserError
    from acu_core.report.comparison import compare as compare_runs

    if markdown and json:
        raise UserError("--markdown and --json cannot be given together")
    if plot is not None:
        from acu_core.report.comparison_figure import check_output

        check_output(plot)
    comparison = compare_runs(find(runs, frozen), iteration=iteration, base=base)
    if plot is not None:
        from acu_core.report.comparison_figure import draw_errors

        draw_errors(comparison, plot, warn=terminal.warning)
    show(comparison, markdown=markdown, json=json, plot=plot)


def find(places: Sequence[Path], frozen: bool) -> list[Path]:
    """The runs at `places` and in them, each followed by its twin where twins are wanted.

    Raises UserError for a place where no run is.
    """
    from acu_cli.run_standing import find_runs
    from acu_core.errors import UserError

    found = []
    for place in places:
        runs = find_runs(place)
        if not runs:
            raise UserError(f"there are no runs in {place}")
        for run in runs:
            found.append(run)
            if frozen and (run / "frozen" / "recipe.toml").is_file():
                found.append(run / "frozen")
    return found


def show(comparison: Comparison, *, markdown: bool = False, json: bool = False, plot: Path | None = None) -> None:
    """Prints a comparison; `plot` is a picture that was drawn of it."""
    from acu_core.report import comparison_text

    if json:
        drawn = {"plot": str(plot)} if plot is not None else {}
        terminal.json({**comparison_text.as_json(comparison), **drawn})
        return
    if markdown:
        terminal.print(comparison_text.markdown(comparison).rstrip("\n"))
    else:
        for table in comparison_text.tables(comparison):
            terminal.table(table.columns, table.rows, title=table.title)
            terminal.print()
        for remark in comparison.remarks:
            terminal.print(remark)
    if not markdown:
        for run in comparison.left_out:
            terminal.warning(f"left out: {run.path}: {run.reason}")
    if plot is not None:
        terminal.note(f"Drawn in {plot}.")
