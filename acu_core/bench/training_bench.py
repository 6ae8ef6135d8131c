"""Whole training steps of the paper's plain network, with ordinary convolutions and with active ones."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from acu_core.bench.timing import Timing, alternate
from acu_core.data.made_up import made_up_data
from acu_core.learn.timed_training import TimedTraining
from acu_core.learn.workplace import Workplace, choose_device, computing
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.train.shape_recorder import ShapeRecorder

RECIPES = ("cifar10-plain-base", "cifar10-plain-acu")
# Of CIFAR-10's size.
CHANNELS, SIZE, CLASSES = 3, 32, 10
BATCHES = 4
"""So many different ones are trained on."""
RECORDING = "recording"


def recipes_to_time(
    *,
    batch: int = 64,
    device: str = "cpu",
    precisions: Sequence[str] = ("float32",),
    compiled: Sequence[bool] = (False,),
    graphs: Sequence[bool] = (False,),
) -> list[Recipe]:
    """The recipes that are compared, for batches of `batch` images on `device`, in every precision, compiled or not.

    With `graphs` also as captured CUDA graphs, or only as these. Their names say what is not as it is by default:
    "cifar10-plain-acu-bfloat16-compiled".
    """
    found = []
    for precision, compiles, graph, name in itertools.product(precisions, compiled, graphs, RECIPES):
        suffix = ("" if precision == "float32" else f"-{precision}") + ("-compiled" if compiles else "")
        suffix += "-graph" if graph else ""
        machine = {"device": device, "precision": precision, "compile": compiles, "cuda_graph": graph}
        changes = [f"data.batch_size={batch}", f"name={name}{suffix}"]
        found.append(load_recipe(name, changes).changed(machine=machine))
    return found


def measure_training(
    recipes: Sequence[Recipe], *, rounds: int = 21, progress: Callable[[int, int], None] | None = None
) -> dict[str, Timing]:
    """Seconds of one iteration of `acu train` (batch, forward, backward, optimizer) for each recipe, by its name.

    On made-up images of CIFAR-10's size, with PyTorch's number of threads as it is. The recipes name one device.
    `RECORDING` is what one `ShapeRecorder.record` takes for the network of the last recipe, timed alone, because a step
    varies by more than that. Where a round takes longer than half a second, each call also writes into the file.
    """
    (device,) = {choose_device(recipe.machine.device) for recipe in recipes}
    with computing(torch.get_num_threads()):
        trainings = {}
        for recipe in recipes:
            data = made_up_data(CHANNELS, SIZE, CLASSES, BATCHES * recipe.data.batch_size, recipe.seed)
            trainings[recipe.name] = TimedTraining(recipe, Workplace(data.to(device), device, torch.get_num_threads()))
        contestants: dict[str, Callable[[], object]] = {name: one.train for name, one in trainings.items()}
        with tempfile.TemporaryDirectory() as directory:
            network = trainings[recipes[-1].name].model
            with ShapeRecorder(network, Path(directory) / "shapes.bin") as shapes:
                iterations = itertools.count(1)
                contestants[RECORDING] = lambda: shapes.record(next(iterations))
                return alternate(
                    contestants,
                    rounds=rounds,
                    device=device,
                    after_round=None if progress is None else lambda done: progress(done, rounds),
                )
