"""Evaluates the newest checkpoint of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acu_core.errors import UserError
from acu_core.runs import RunDirectory, load_latest_checkpoint
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
    classes: int
    evaluation: Evaluation


def evaluate_run(
    path: Path,
    *,
    data_path: Path | None = None,
    download: bool = False,
    device: str | None = None,
    events: Events | None = None,
) -> StoredEvaluation:
    """Counts the errors of the run's newest checkpoint on its test images; writes nothing.

    Raises UserError when there is no run, no checkpoint or no data.
    """
    events = events or NoEvents()
    run = RunDirectory.open(path)
    recipe = parse_recipe(run.recipe_toml, str(run.path / "recipe.toml"))
    checkpoint = load_latest_checkpoint(run)
    if checkpoint is None:
        raise UserError(f"{path} has no checkpoint yet: go on with it by `acu train --resume {path}`")
    place = recorded_workplace(
        recipe, run.environment, data_path=data_path, download=download, device=device, events=events
    )
    with computing(place.threads):
        model = new_network(recipe, place)
        load_network_state(model, checkpoint.state.get("model", {}), str(checkpoint.path))
        events.begin(place.data.test_count, 0)
        evaluation = evaluate_network(
            model,
            place.data,
            batch_size=recipe.data.evaluation_batch_size,
            memory_format=recipe.machine.memory_format,
            progress=lambda done: events.advance(done, "evaluating", None, None),
        )
    return StoredEvaluation(str(run.path), checkpoint.iteration, str(place.device), place.data.classes, evaluation)
