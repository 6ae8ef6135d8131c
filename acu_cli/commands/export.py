"""`acu export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.checkpoint_choice import chosen_iteration
from acu_cli.training_progress import TrainingProgress


def export(
    run: Annotated[Path, typer.Argument(help="The run whose newest checkpoint is exported.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="The file: .safetensors (a plain state dict), .pt2 (torch.export) or .onnx.",
            show_default=False,
        ),
    ],
    iteration: Annotated[
        str | None,
        typer.Option(
            help="The iteration whose checkpoint is exported, or `best` by the held-out images.", show_default=False
        ),
    ] = None,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Export the averaged weights, where the recipe asks for an average.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="The data set. Default: where the run found it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Evaluate the written file and compare its logits.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a run's network as ordinary convolutions, for use without acu, and evaluate the written file."""
    chosen = chosen_iteration(iteration)
    with TrainingProgress(unit="images") as events:
        events.note("Starting PyTorch ...")
        from acu_core.export.exported_run import export_run

        report = export_run(
            run,
            output,
            iteration=chosen,
            averaged=averaged,
            data_path=data,
            download=download,
            check=check,
            events=events,
        )
    found = report.comparison
    if json:
        terminal.json(
            {
                "run": report.run,
                "iteration": report.iteration,
                "path": str(report.path),
                "format": report.format,
                "opset": report.opset,
                "bytes": report.bytes,
                "written": report.written,
                "evaluation": {"images": found.images, "errors": found.errors} if found else None,
                "exported_errors": found.exported_errors if found else None,
                # JSON has no NaN.
                "largest_logit_difference": found.largest_difference
                if found and found.largest_difference < float("inf")
                else None,
            }
        )
    else:
        opset = f", opset {report.opset}" if report.opset else ""
        terminal.print(
            f"{report.path}: {report.run}, iteration {report.iteration:,}, as {report.format}{opset}, "
            f"{report.bytes / 1e6:.2f} MB"
        )
        if found:
            terminal.print(f"  the run's network  {found.errors:,} errors in {found.images:,} images")
            terminal.print(f"  the written file   {found.exported_errors:,} errors")
            terminal.print(f"  largest difference of two logits  {found.largest_difference:.2g}")
        else:
            terminal.print("  not evaluated (--no-check)")
    if not report.written and found:
        terminal.error(
            f"{report.path} was not written, because its logits differ by more than {found.allowed_difference:g}: "
            "--no-check writes it all the same"
        )
        raise typer.Exit(1)
