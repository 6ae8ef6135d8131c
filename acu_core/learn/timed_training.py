"""A training that is only timed: the same step and the same evaluation, without files."""

from __future__ import annotations

import torch

from acu_core.learn.averaged_weights import AveragedWeights
from acu_core.learn.batch import recipe_batch
from acu_core.learn.evaluation import evaluate_network
from acu_core.learn.network import new_network
from acu_core.learn.step import TrainingStep
from acu_core.learn.workplace import Workplace
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.schema import Recipe


class TimedTraining:
    """What `acu train` does with a recipe, an iteration or an evaluation at a time, amid the training.

    Weights that a recipe starts with are not read: they do not change the time. Changes PyTorch's global generator.
    """

    def __init__(self, recipe: Recipe, place: Workplace) -> None:
        self.model = new_network(recipe, place, pretrained=False)
        for layer in active_layers(self.model).values():
            # Off the grid, as in most of a training: on it, there is less to do.
            layer.positions.data.add_(0.5 * torch.rand_like(layer.positions))
        self._recipe = recipe
        self._place = place
        self._average = AveragedWeights(self.model, recipe.average.decay) if recipe.average is not None else None
        self._step = TrainingStep(self.model, recipe)
        # Beyond the warm-up the positions move.
        self._iteration = recipe.schedule.warm_up

    def train(self) -> None:
        """One iteration, its batch included."""
        self._iteration += 1
        self._step(self._iteration, *recipe_batch(self._recipe, self._place.data, self._iteration))
        if self._average is not None:
            self._average.update()

    def evaluate(self) -> None:
        """One evaluation of all test images, by the averaged weights too where there are any."""
        for model in (self.model, *([self._average.model] if self._average is not None else [])):
            evaluate_network(
                model,
                self._place.data,
                batch_size=self._recipe.data.evaluation_batch_size,
                memory_format=self._recipe.machine.memory_format,
            )
