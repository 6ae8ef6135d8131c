"""Begins a run: where it is trained, that it can be trained, its directory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import torch

from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.batch import recipe_batch
from acu_core.learn.compilation import CompilationError
from acu_core.learn.network import new_network
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.step import TrainingStep
from acu_core.learn.workplace import Workplace, computing
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.environment import describe, new_workplace, storable_path
from acu_core.train.events import Events
from acu_core.train.kernel_record import chooses_kernels, share_choices

RUNS = Path("runs")


def prepare(
    recipe: Recipe,
    *,
    data_path: Path | None,
    download: bool,
    place: Workplace | None,
    events: Events,
    processes: Processes = ALONE,
) -> tuple[Recipe, Workplace]:
    """The recipe with the data's place in it, and where it is trained; `place` is one that is loaded already.

    Writes nothing. Raises UserError when the recipe cannot be trained there.
    """
    refuse_start(recipe)
    if data_path is not None:
        recipe = recipe.changed(data={"path": storable_path(data_path)})
    place = place or new_workplace(recipe, data_path=data_path, download=download, events=events, processes=processes)
    rehearse(recipe, place)
    return recipe, place


def refuse_start(recipe: Recipe) -> None:
    """Raises UserError for a recipe that goes on from another run."""
    if recipe.start is not None:
        raise UserError(
            f"{recipe.name} goes on from a finished run of {recipe.start.recipe}, rounded: it cannot be trained alone",
            Remedy(Action.TRAIN, recipe.start.recipe),
            Remedy(Action.ROUND, "RUN"),
        )


def rehearse(recipe: Recipe, place: Workplace, *, pretrained: bool = True) -> None:
    """Trains a network by one small batch and forgets it, so that a run which cannot be trained is never made.

    Raises UserError that says what does not fit.
    """
    data = recipe.data
    with computing(place.threads):
        images, labels = recipe_batch(recipe, place.data, 1, place.processes)
        if place.processes.several and len(images) == 1:
            images, labels = images.repeat(2, 1, 1, 1), labels.repeat(2)
        choosing = chooses_kernels(place.device)
        # Two, because BatchNorm cannot train on one pixel of one image. A network is compiled for one size, and kernels
        # are chosen for one.
        few = images if recipe.machine.compile or choosing else images[: max(2, len(images) // 64)]
        # Each process for itself.
        step = TrainingStep(new_network(recipe, place, pretrained=pretrained), recipe)
        try:
            if choosing and recipe.machine.compile:
                # In a compiled graph nothing is chosen.
                plain = recipe.changed(machine={"compile": False})
                TrainingStep(new_network(plain, place, pretrained=pretrained), plain)(1, few, labels)
            step(1, few, labels[: len(few)])
            with torch.no_grad():
                logits = tuple(step.model(few).shape)
            if logits != (len(few), place.data.classes):
                # A label would do as the number of one of many more logits, and be learned without a word.
                raise ValueError(f"it gives {logits} for {len(few)} images of {place.data.classes} classes")
        except CompilationError:
            raise
        except Exception as error:  # a foreign network can fail anywhere in its own code
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"the network {recipe.network.name} cannot be trained on images of {tuple(images.shape[1:])} "
                f"(channels, height, width) in batches of {data.batch_size}: {reason}"
            ) from error
    if choosing:
        share_choices(place.processes)


def create_run(recipe: Recipe, out: Path | None, place: Workplace) -> RunDirectory:
    """A new run directory, at `out` or at the next free number. Raises UserError when `out` is taken.

    The first of several processes makes it.
    """
    text, environment = recipe_toml(recipe), describe(recipe, place)

    def create() -> RunDirectory:
        if out is not None:
            return RunDirectory.create(out, text, environment)
        return create_numbered(recipe.name, lambda path: RunDirectory.create(path, text, environment))

    return place.processes.from_first(create)


def create_numbered(name: str, create: Callable[[Path], RunDirectory]) -> RunDirectory:
    """`create(runs/<name>-<n>)` with the next free n, also when several processes look for one."""
    for number in itertools.count(1):
        path = RUNS / f"{name}-{number}"
        if path.exists():
            continue
        try:
            return create(path)
        except UserError:
            # Another process may have taken the number in between.
            if not path.exists():
                raise
    raise RuntimeError("unreachable")
