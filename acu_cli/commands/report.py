"""`acu report`: the page of a run, in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal
from acu_cli.json_report import named_runs

if TYPE_CHECKING:
    from collections.abc import Sequence


def report(
    run: Annotated[Path, typer.Argument(help="A run's directory, or a positions.bin.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The file, an .html. By default figures/report.html in the run.", show_default=False
        ),
    ] = None,
    first: Annotated[int | None, typer.Option("--from", help="Iteration to begin with.", show_default=False)] = None,
    last: Annotated[int | None, typer.Option("--to", help="Iteration to end with.", show_default=False)] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to show, with commas between; * stands for any letters.", show_default=False),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Stands over the page; by default the run's name.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the page of a run that one sends to a colleague: shapes, curves, recipe and environment in one file."""
    from acu_core.report.page import default_page

    wanted = terminal.names(layers)
    target = default_page(run) if output is None else output
    write_page(run, target, first=first, last=last, layers=wanted, title=title, json=json)


def write_page(
    run: Path,
    output: Path,
    *,
    first: int | None = None,
    last: int | None = None,
    layers: Sequence[str] | None = None,
    title: str | None = None,
    json: bool,
) -> None:
    """Writes the page and says so; `acu animate-shapes` does it too when the file is to be an .html."""
    from acu_core.report import page

    written = page.write_page(run, output, first=first, last=last, layers=layers, title=title, warn=terminal.warning)
    if json:
        values = {**asdict(written), "path": str(written.path)}
        values["first_iteration"], values["last_iteration"] = values.pop("first"), values.pop("last")
        terminal.json({**named_runs([run]), **values})
        return
    held = (
        f"one snapshot, iteration {written.first:,}"
        if written.snapshots == 1
        else f"{written.snapshots:,} snapshots, iterations {written.first:,} to {written.last:,}"
    )
    terminal.print(f"{written.path}: {held}, {written.bytes / 1e6:.2f} MB")
