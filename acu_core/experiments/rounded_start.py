"""The state in which a fine-tuning starts: its parent's network with the positions on the grid."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from acu_core.durable import write_text_durably
from acu_core.errors import Action, Remedy, UserError
from acu_core.experiments.report import RoundingFigures
from acu_core.learn.evaluation import Evaluation, evaluate_network, finite_evaluation
from acu_core.learn.workplace import Workplace
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint
from acu_core.runs.regular_file import open_regular
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.events import NoEvents
from acu_core.train.stored_run import StoredRun

_FILE = "rounding.json"


def rounded_start(run: RunDirectory, recipe: Recipe, place: Workplace) -> dict[str, Any]:
    """Rounds the parent's network, evaluates it before and after, writes `rounding.json` into `run`.

    Returns the rounded network's state. Raises UserError when the parent is gone or is not what it was.
    """
    parent = recipe.parent
    if parent is None:
        raise ValueError("the recipe has no parent")

    def read() -> tuple[StoredRun, Checkpoint | None]:
        stored = StoredRun.open(parent.run)
        checkpoint = stored.newest_checkpoint(NoEvents())
        same = checkpoint is not None and file_sha256(checkpoint.path) == parent.checkpoint_sha256
        return stored, checkpoint if same else None

    stored, checkpoint = place.processes.from_first(read)
    if checkpoint is None:
        raise UserError(
            f"the parent run {parent.run} was changed since",
            Remedy(Action.START_ANEW, str(run.path)),
            Remedy(Action.ROUND, parent.run),
        )
    model = stored.network(checkpoint, place)
    before = _evaluate(model, recipe, place)
    collisions = round_positions(model)
    after = _evaluate(model, recipe, place)
    figures = RoundingFigures(parent.run, parent.iteration, before, after, collisions)
    with place.processes.together():
        if place.processes.leads:
            write_text_durably(run.path / _FILE, json.dumps(asdict(figures), indent=2, allow_nan=False) + "\n")
    return dict(model.state_dict())


def read_rounding(run: RunDirectory) -> RoundingFigures | None:
    """The figures that `rounded_start` wrote; None for a run that has none."""
    path = run.path / _FILE
    try:
        with open_regular(path) as file:
            return TypeAdapter(RoundingFigures).validate_json(file.read(), strict=True)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise UserError(f"{path} is damaged: {place}: {first['msg']}") from error


@torch.no_grad()
def round_positions(model: nn.Module) -> list[dict[str, Any]]:
    """Rounds the positions of every active layer in place; returns the cells on which several synapses fell."""
    collisions = []
    for name, layer in active_layers(model).items():
        layer.round_()
        collisions += [{"layer": name, **entry} for entry in shared_cells(layer.positions)]
    return collisions


def shared_cells(positions: Tensor) -> list[dict[str, Any]]:
    """The cells of rounded positions (G, K, 2) that hold several synapses: group, cell [y, x], synapse numbers."""
    found = []
    for group, shape in enumerate(positions.detach().cpu().tolist()):
        cells: dict[tuple[int, int], list[int]] = defaultdict(list)
        for synapse, (y, x) in enumerate(shape):
            cells[(round(y), round(x))].append(synapse)
        found += [
            {"group": group, "cell": list(cell), "synapses": synapses}
            for cell, synapses in sorted(cells.items())
            if len(synapses) > 1
        ]
    return found


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, which names a parent's checkpoint beyond its path."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _evaluate(model: nn.Module, recipe: Recipe, place: Workplace) -> Evaluation:
    return finite_evaluation(
        evaluate_network(
            model,
            place.data,
            batch_size=recipe.data.evaluation_batch_size,
            memory_format=recipe.machine.memory_format,
            processes=place.processes,
        ),
        "the network to be rounded",
    )
