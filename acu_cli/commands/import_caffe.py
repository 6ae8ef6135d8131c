"""`acu import-caffe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.shell_words import quoted


def import_caffe(
    files: Annotated[
        list[Path], typer.Argument(help="The authors' .caffemodel files, all of one training.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="Directory of the run. Default: runs/<recipe>-<n>.")] = None,
    iterations: Annotated[
        list[int] | None,
        typer.Option(
            "--iteration", help="Iteration of a file, once for each in their order. Default: from its name (_iter_N)."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a run of the paper's authors' Caffe networks: weights, statistics and shapes.

    Several files of one training become the run's snapshots and checkpoints.
    """
    terminal.note("Starting PyTorch ...")
    from acu_core.caffe import import_run

    imported = import_run.import_caffe(files, out, iterations=iterations or ())
    if json:
        found = [
            {"path": path, "iteration": number}
            for path, number in zip(imported.files, imported.iterations, strict=True)
        ]
        terminal.json({"run": imported.run, "recipe": imported.recipe, "classes": imported.classes, "imported": found})
        return
    for path, iteration in zip(imported.files, imported.iterations, strict=True):
        terminal.print(f"  {path}: iteration {iteration:,}")
    terminal.print(f"Imported into {imported.run}, a network for {imported.classes} classes.", style="bold")
    terminal.print("Next: " + f"acu evaluate {quoted(imported.run)} --data cifar{imported.classes}.npz", style="bold")
