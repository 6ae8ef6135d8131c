"""Turns files of one Caffe training into a run: a snapshot and a checkpoint each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acu_core.caffe.caffemodel import Caffemodel, read_caffemodel
from acu_core.caffe.plain_state import plain_state
from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.optimizer import new_optimizer
from acu_core.nn.active_conv2d import active_layers
from acu_core.nn.networks import network_of
from acu_core.recipe.recipe_file import built_in_recipes, load_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import LogLengths, save_checkpoint
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.train.begin import create_numbered
from acu_core.train.recorder import Recorder
from acu_core.train.shape_collector import layer_entries

LARGEST_ITERATION = 10**9
_RECIPES = {10: "cifar10-plain-acu", 100: "cifar100-plain-acu"}
"""The recipe by the number of classes; all of these have three channels."""


@dataclass(frozen=True)
class ImportedRun:
    """What was imported, and where it lies."""

    run: str
    recipe: str
    classes: int
    iterations: tuple[int, ...]
    files: tuple[str, ...]
    """In the order of `iterations`."""


@dataclass(frozen=True)
class _Network:
    iteration: int
    model: Caffemodel
    state: dict[str, Tensor]


def import_caffe(files: Sequence[Path], out: Path | None = None, *, iterations: Sequence[int] = ()) -> ImportedRun:
    """Makes a run of the Caffe networks `files`, all of one training, at `out` or at `runs/<recipe>-<n>`.

    The iteration of a file is read off its name (`..._iter_50000.caffemodel`), or given: one of `iterations` for each
    file. The run appears whole or not at all. Raises UserError for files that are not the authors' plain network or
    do not belong together, for iterations that are missing or given twice, and when `out` is taken.
    """
    networks = _read(files, iterations)
    recipe = _recipe(networks)
    model = _model(recipe, networks[0])
    for network in networks:
        _check_shapes(network, model)
    run = _write(networks, recipe, model, out)
    return ImportedRun(
        run=str(run),
        recipe=recipe.name,
        classes=_classes(networks[0]),
        iterations=tuple(network.iteration for network in networks),
        files=tuple(_text(network.model.path) for network in networks),
    )


def _text(path: str | Path) -> str:
    """A path that can be written into a file and printed: bytes that are no UTF-8 become their numbers."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read(files: Sequence[Path], iterations: Sequence[int]) -> list[_Network]:
    if not files:
        raise UserError("there is nothing to import: give at least one .caffemodel")
    if iterations and len(iterations) != len(files):
        raise UserError(
            f"{len(iterations)} iterations were given for {len(files)} files: there must be one for each, or none",
            Remedy(Action.SAY_ITERATION),
        )
    found: dict[int, _Network] = {}
    for index, path in enumerate(files):
        iteration = iterations[index] if iterations else _iteration(path)
        if not 1 <= iteration <= LARGEST_ITERATION:
            raise UserError(
                f"{path} cannot be of iteration {iteration}, which must be from 1 to {LARGEST_ITERATION:,}",
                Remedy(Action.SAY_ITERATION, str(path)),
            )
        if iteration in found:
            raise UserError(
                f"{found[iteration].model.path} and {path} are both of iteration {iteration}: leave one out, or "
                "say of which iteration each is",
                Remedy(Action.SAY_ITERATION, str(path)),
            )
        model = read_caffemodel(path)
        found[iteration] = _Network(iteration, model, plain_state(model, iteration))
    networks = [found[iteration] for iteration in sorted(found)]
    first = networks[0]
    for other in networks[1:]:
        if other.model.name != first.model.name or _shapes(other.state) != _shapes(first.state):
            raise UserError(
                f"{first.model.path} and {other.model.path} are different networks: import them as runs of their own"
            )
    return networks


def _iteration(path: Path) -> int:
    match = re.search(r"_iter_(\d{1,12})$", path.stem, re.ASCII)
    if match is None:
        raise UserError(
            f"the name of {path} does not say its iteration (..._iter_50000.caffemodel)",
            Remedy(Action.SAY_ITERATION, str(path)),
        )
    return int(match[1])


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _classes(network: _Network) -> int:
    return network.state["classifier.weight"].shape[0]


def _recipe(networks: Sequence[_Network]) -> Recipe:
    """The recipe whose data fit the network, with what is known of this training."""
    first = networks[0]
    channels, classes = first.state["conv0.weight"].shape[1], _classes(first)
    name = _RECIPES.get(classes, "")
    if channels != 3 or name not in built_in_recipes():
        raise UserError(
            f"{first.model.path} is for {channels} channels and {classes} classes: there is no recipe of the plain "
            "network with such data"
        )
    recipe = load_recipe(name)
    return recipe.changed(
        name=recipe.derived_name("-imported"),
        description=(
            f"imported from Caffe: {', '.join(_text(network.model.path.name) for network in networks)}; the files "
            f"tell the network, its weights, statistics and positions; everything else is taken from {name}, and the "
            "seed, the momentum and the order of the images are not known"
        ),
        schedule={"iterations": max(recipe.schedule.iterations, networks[-1].iteration)},
        paper=None,
    )


def _model(recipe: Recipe, network: _Network) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        channels = network.state["conv0.weight"].shape[1]
        return network_of(recipe.network, in_channels=channels, classes=_classes(network), pretrained=False)


def _check_shapes(network: _Network, model: nn.Module) -> None:
    expected, found = _shapes(model.state_dict()), _shapes(network.state)
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise UserError(
                f"{network.model.path} is not the authors' plain network, the only one that can be imported: "
                f"its {name} is {found.get(name)}, not {shape}"
            )


def _write(networks: Sequence[_Network], recipe: Recipe, model: nn.Module, out: Path | None) -> Path:
    text, environment = recipe_toml(recipe), _environment(networks)

    def create(path: Path) -> RunDirectory:
        # Filled before it appears: a run that was killed half way would be trained from the beginning when resumed.
        return RunDirectory.create(path, text, environment, lambda run: _fill(run, networks, recipe, model))

    return (create(out) if out is not None else create_numbered(recipe.name, create)).path


def _fill(run: RunDirectory, networks: Sequence[_Network], recipe: Recipe, model: nn.Module) -> None:
    layers = active_layers(model)
    facts = TrainingFacts(recipe.schedule.warm_up)
    with (
        SnapshotWriter.create(run.positions, layer_entries(layers), facts) as snapshots,
        # Empty: what was lost and won on the way is not in the files.
        LogWriter(run.metrics) as metrics,
    ):
        recorder = Recorder(recipe, layers, snapshots, metrics)
        for network in networks:
            model.load_state_dict(network.state)
            recorder.write_snapshot(network.iteration)
            snapshots.sync()
            metrics.sync()
            save_checkpoint(
                run,
                network.iteration,
                model=model.state_dict(),
                optimizer=new_optimizer(model, recipe).state_dict(),
                log_lengths=LogLengths(snapshots.length, metrics.length),
                keep=len(networks),
            )


def _environment(networks: Sequence[_Network]) -> dict[str, Any]:
    try:
        version: str | None = metadata.version("active-convolution")
    except metadata.PackageNotFoundError:
        version = None
    return {
        "imported": {
            "format": "caffe",
            "network": networks[0].model.name,
            "files": [
                {"name": _text(n.model.path.name), "sha256": n.model.sha256, "iteration": n.iteration} for n in networks
            ],
        },
        "versions": {"acu": version},
    }
