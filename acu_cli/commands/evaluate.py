"""`acu evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal
from acu_cli.checkpoint_choice import chosen_iteration
from acu_cli.training_progress import TrainingProgress

if TYPE_CHECKING:
    from acu_core.runs.metrics import EvaluationRecord

_EVALUATED = ("evaluation", "averaged", "validation", "averaged_validation")


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run whose newest checkpoint is evaluated.")],
    data: Annotated[Path | None, typer.Option(help="The data set. Default: where the run found it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download the data set if it is not there.")] = False,
    iteration: Annotated[
        str | None,
        typer.Option(help="The iteration whose checkpoint is evaluated, or `best` by the held-out images."),
    ] = None,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Evaluate the averaged weights, where the recipe asks for an average.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="Evaluate nothing: list the checkpoints that there are.")
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Compute the active layers in plain PyTorch, without the kernels.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:<number> or mps. Default: the run's.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Count the errors of a run's newest checkpoint, or of another one, on the test images."""
    chosen = chosen_iteration(iteration)
    if list_all:
        _list(run, json)
        return
    with TrainingProgress(unit="images") as events:
        events.note("Starting PyTorch ...")
        from acu_core.experiments.stored_evaluation import evaluate_run

        result = evaluate_run(
            run,
            iteration=chosen,
            averaged=averaged,
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
            "averaged_weights": result.averaged,
            "device": result.device,
            "operator": result.operator,
            "test_part": result.test_part,
            "test_error": 100 * figures.errors / figures.images,
            "broken_images": result.broken_images,
        }
        counted = {
            "images": figures.images,
            "errors": figures.errors,
            "accuracy": figures.accuracy,
            "loss": figures.loss,
        }
        if result.classes > 5:
            counted |= {"top5_errors": figures.top5_errors, "top5_accuracy": figures.top5_accuracy}
        terminal.json({**values, "evaluation": counted})
        return
    top5 = f", {100 * figures.top5_accuracy:.2f} % top-5" if result.classes > 10 else ""
    terminal.print(
        f"{result.run}, iteration {result.iteration:,}{', averaged weights' if result.averaged else ''}: "
        f"{figures.errors:,} errors in {figures.images:,} {result.test_part} images "
        f"({100 * figures.errors / figures.images:.2f} % error, {100 * figures.accuracy:.2f} % accuracy{top5}, "
        f"loss {figures.loss:.4f})"
    )
    if result.broken_images:
        terminal.print(f"Not counted, because they cannot be read: {result.broken_images:,} {result.test_part} images.")


def _list(run: Path, json: bool) -> None:
    from acu_core.experiments.stored_checkpoints import stored_checkpoints

    found = stored_checkpoints(run)
    if json:
        checkpoints = [
            {
                "iteration": one.iteration,
                "path": str(one.path),
                "bytes": one.bytes,
                "newest": one.is_newest,
                "best": one.is_best,
                "kept": one.is_kept,
                **dict(zip(_EVALUATED, map(_counts, _pairs(one.evaluation)), strict=True)),
            }
            for one in found
        ]
        terminal.json({"run": str(run), "checkpoints": checkpoints})
        return
    if not found:
        terminal.print(f"{run} has no checkpoint yet.")
        return
    rows = []
    for one in found:
        marks = {"newest": one.is_newest, "best": one.is_best, "kept": one.is_kept}
        rows.append(
            [f"{one.iteration:,}", *_errors(one.evaluation), ", ".join(name for name, is_so in marks.items() if is_so)]
        )
    head = ["iteration", "test error", "averaged", "held-out error", "averaged", ""]
    # Columns in which nothing stands are left out.
    used = [number for number in range(len(head)) if number < 2 or any(row[number] not in ("", "-") for row in rows)]
    terminal.table([head[number] for number in used], [[row[number] for number in used] for row in rows])


def _pairs(evaluation: EvaluationRecord | None) -> list[tuple[int | None, int]]:
    """Errors and images of what `_EVALUATED` names; None where it was not evaluated."""
    if evaluation is None:
        return [(None, 0)] * len(_EVALUATED)
    held_out = evaluation.validation_images or 0
    return [
        (evaluation.test_errors, evaluation.test_images),
        (evaluation.average_test_errors, evaluation.test_images),
        (evaluation.validation_errors, held_out),
        (evaluation.average_validation_errors, held_out),
    ]


def _counts(pair: tuple[int | None, int]) -> dict[str, int] | None:
    errors, images = pair
    return {"images": images, "errors": errors} if errors is not None else None


def _errors(evaluation: EvaluationRecord | None) -> list[str]:
    return [f"{100 * errors / images:.2f} %" if errors is not None else "-" for errors, images in _pairs(evaluation)]
