"""`acu export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.checkpoint_choice import chosen_iteration
from acu_cli.form_table import forms_as_json, print_forms
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
    form: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LAYER=]FORM",
            help="What active layers become: auto (the fastest, measured), dense (one kernel), shifts (shifted images, "
            "1x1 products), custom (acu's operator, .pt2 only); of some layers: conv2_*=shifts. May be repeated.",
            show_default="auto",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=65_536, help="Images at once in the measurement. Default: 64, fewer large ones."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The data set. Default: where the run found it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Evaluate the written file and compare its logits.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a run's network in standard layers, for use without acu, and evaluate the written file.

    Each active layer becomes what is fastest in the format: its forms are measured beside an ordinary convolution.
    """
    chosen = chosen_iteration(iteration)
    with TrainingProgress(unit="images") as events:
        events.note("Starting PyTorch ...")
        from acu_core.export.exported_run import export_run
        from acu_core.export.form_request import FormRequest

        report = export_run(
            run,
            output,
            iteration=chosen,
            averaged=averaged,
            forms=FormRequest.of(form or []),
            batch=batch,
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
                **forms_as_json(report.forms),
            }
        )
    else:
        opset = f", opset {report.opset}" if report.opset else ""
        terminal.print(
            f"{report.path}: {report.run}, iteration {report.iteration:,}, as {report.format}{opset}, "
            f"{report.bytes / 1e6:.2f} MB"
        )
        print_forms(report.forms)
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
