"""`acu positions`: a run's positions and weight norms as a file for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.json_report import named_runs


def positions(
    run: Annotated[
        Path, typer.Argument(help="A run's directory, or a file that a ShapeRecorder wrote.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file: .csv, .npz (NumPy) or .parquet.", show_default=False),
    ],
    first: Annotated[int | None, typer.Option("--from", help="Iteration to begin with.", show_default=False)] = None,
    last: Annotated[int | None, typer.Option("--to", help="Iteration to end with.", show_default=False)] = None,
    every: Annotated[int, typer.Option(min=1, help="Only iterations that are multiples of it.")] = 1,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to write, with commas between; * stands for any letters.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write the position and weight norm of every synapse at every recorded iteration as numbers."""
    from acu_core.runs.shape_export import export_shapes

    wanted = terminal.names(layers)
    report = export_shapes(run, output, first=first, last=last, every=every, layers=wanted, warn=terminal.warning)
    if json:
        values = {**asdict(report), "path": str(report.path)}
        values["first_iteration"], values["last_iteration"] = values.pop("first"), values.pop("last")
        terminal.json({**named_runs([run]), **values})
    else:
        layer_count = f"{len(report.layers)} layer{'s' if len(report.layers) > 1 else ''}"
        terminal.print(
            f"{report.path}: {report.rows:,} rows, {report.snapshots:,} snapshots of {layer_count}, "
            f"iterations {report.first:,} to {report.last:,}, {report.bytes / 1e6:.2f} MB"
        )
