"""Evaluates a checkpoint of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acu_core.errors import UserError
from acu_core.nn import active_layers
from acu_core.op import active_conv2d_reference
from acu_core.op.library import has_kernel
from acu_core.runs import Checkpoint, RunDirectory, load_checkpoint, load_latest_checkpoint
from acu_core.train.environment import computing, recorded_workplace
from acu_core.train.evaluation import Evaluation, evaluate_network
from acu_core.train.events import Events, NoEvents
from acu_core.train.network_training import load_network_state, new_network
from acu_core.train.recipe_file import parse_recipe


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


def stored_checkpoint(run: RunDirectory, iteration: int | None = None) -> Checkpoint:
    """The run's checkpoint of an iteration, or the newest one. Raises UserError when there is none."""
    if iteration is not None:
        return load_checkpoint(run, iteration)
    checkpoint = load_latest_checkpoint(run)
    if checkpoint is None:
        raise UserError(f"{run.path} has no checkpoint yet: go on with it by `acu train --resume {run.path}`")
    return checkpoint


def evaluate_run(
    path: Path,
    *,
    iteration: int | None = None,
    reference: bool = False,
    data_path: Path | None = None,
    download: bool = False,
    device: str | None = None,
    events: Events | None = None,
) -> StoredEvaluation:
    """Counts the errors of a checkpoint of the run, by default the newest, on its test images; writes nothing.

    With `reference` the active layers are computed by the reference in plain PyTorch, also where there is a compiled
    kernel. Raises UserError when there is no run, no such checkpoint or no data.
    """
    events = events or NoEvents()
    run = RunDirectory.open(path)
    recipe = parse_recipe(run.recipe_toml, str(run.path / "recipe.toml"))
    checkpoint = stored_checkpoint(run, iteration)
    place = recorded_workplace(
        recipe, run.environment, data_path=data_path, download=download, device=device, events=events
    )
    with computing(place.threads):
        model = new_network(recipe, place, pretrained=False)
        load_network_state(model, checkpoint.state.get("model", {}), str(checkpoint.path))
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
        evaluation=evaluation,
    )
