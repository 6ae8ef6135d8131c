"""Evaluates a checkpoint of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acu_core.learn.evaluation import Evaluation, evaluate_network, finite_evaluation
from acu_core.learn.workplace import computing
from acu_core.nn.active_conv2d import active_layers
from acu_core.op.library import has_kernel
from acu_core.op.reference import active_conv2d_reference
from acu_core.train.events import Events, NoEvents
from acu_core.train.stored_run import StoredRun


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation, and of what."""

    run: str
    iteration: int
    device: str
    operator: str | None
    """What computed the active layers: "compiled" or "reference" (plain PyTorch, `acu_core/op/reference.py`).

    None where there are none.
    """
    classes: int
    evaluation: Evaluation
    test_part: str = "test"
    """What the evaluated images are called: "test" or "validation"."""
    broken_images: int = 0
    """Images that could not be read and are not counted, because the recipe leaves out such."""
    averaged: bool = False
    """Whether it is of the averaged weights."""


def evaluate_run(
    path: Path,
    *,
    iteration: int | Literal["best"] | None = None,
    averaged: bool = False,
    reference: bool = False,
    data_path: Path | None = None,
    download: bool = False,
    device: str | None = None,
    events: Events | None = None,
) -> StoredEvaluation:
    """Counts the errors of a checkpoint of the run, by default the newest, on its test images; writes nothing.

    "best" is the checkpoint with the fewest errors on the images held out for validation; `averaged` evaluates the
    averaged weights in the network's place.
    With `reference` the active layers are computed by the reference in plain PyTorch, also where there is a compiled
    kernel. Raises UserError when there is no run, no such checkpoint or no data.
    """
    events = events or NoEvents()
    run = StoredRun.open(path)
    recipe = run.recipe
    checkpoint = run.checkpoint(iteration, events)
    place = run.workplace(data_path=data_path, download=download, device=device, events=events)
    with computing(place.threads):
        model = run.network(checkpoint, place, averaged=averaged)
        layers = active_layers(model).values()
        operator = "reference" if reference or not has_kernel(place.device.type) else "compiled"
        if reference:
            for layer in layers:
                layer.operator = active_conv2d_reference
        events.begin(place.data.test_count, 0)
        evaluation = evaluate_network(
            model,
            place.data,
            batch_size=recipe.data.evaluation_batch_size,
            memory_format=recipe.machine.memory_format,
            progress=lambda done: events.advance(done, "evaluating", None, None),
        )
    return StoredEvaluation(
        run=str(run.path),
        iteration=checkpoint.iteration,
        device=str(place.device),
        operator=operator if layers else None,
        classes=place.data.classes,
        evaluation=finite_evaluation(evaluation, f"{run.path} at iteration {checkpoint.iteration}"),
        test_part=place.data.test_part,
        broken_images=len(place.data.broken_images or ()),
        averaged=averaged,
    )
