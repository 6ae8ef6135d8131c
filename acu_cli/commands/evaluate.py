"""`acu evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.training_progress import TrainingProgress


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run whose newest checkpoint is evaluated.")],
    data: Annotated[Path | None, typer.Option(help="The data set. Default: where the run found it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    iteration: Annotated[int | None, typer.Option(help="Evaluate the checkpoint of this iteration instead.")] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Compute the active layers in plain PyTorch, without the kernels.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<number>. Default: the run's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Count the errors of a run's newest checkpoint, or of another one, on the test images."""
    with TrainingProgress(unit="images") as events:
        events.note("Starting PyTorch ...")
        from acu_core.experiments.stored_evaluation import evaluate_run

        result = evaluate_run(
            run,
            iteration=iteration,
            reference=reference,
            data_path=data,
            download=download,
            device=device,
            events=events,
        )
    figures = result.evaluation
    if json:
        values = {
            "run": result.run,
            "iteration": result.iteration,
            "device": result.device,
            "operator": result.operator,
            "test_part": result.test_part,
            "test_error": 100 * figures.errors / figures.images,
        }
        counted = {
            "images": figures.images,
            "errors": figures.errors,
            "accuracy": figures.accuracy,
            "loss": figures.loss,
            "broken_images": result.broken_images,
        }
        if result.classes > 5:
            counted |= {"top5_errors": figures.top5_errors, "top5_accuracy": figures.top5_accuracy}
        terminal.json({**values, "evaluation": counted})
        return
    top5 = f", {100 * figures.top5_accuracy:.2f} % top-5" if result.classes > 10 else ""
    terminal.print(
        f"{result.run}, iteration {result.iteration:,}: "
        f"{figures.errors:,} errors in {figures.images:,} {result.test_part} images "
        f"({100 * figures.errors / figures.images:.2f} % error, {100 * figures.accuracy:.2f} % accuracy{top5}, "
        f"loss {figures.loss:.4f})"
    )
    if result.broken_images:
        terminal.print(f"Not counted, because they cannot be read: {result.broken_images:,} {result.test_part} images.")
