"""One training iteration: from images and labels to a changed network. What `acu train` trains and what is timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import Optimizer

from acu_core.data.randomness import network_seed
from acu_core.learn.batch_norm import CorrectedAverage
from acu_core.learn.optimizer import new_optimizer
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.schedule import learning_rate, position_learning_rate, positions_move
from acu_core.learn.synchronized_batch_norm import synchronize_batch_norms
from acu_core.recipe.schema import Recipe

Precision = Callable[[], AbstractContextManager[object]]
"""The arithmetic of forward and loss, entered once a step: `lambda: torch.autocast("cpu", torch.bfloat16)`, say."""


@dataclass(frozen=True)
class StepFigures:
    """What one step came to, still on the device: `loss` () float32, and `accuracy` () of the batch, 0 to 1.

    Of several processes, each has those of its own images; `global_figures` makes one of them.
    """

    loss: Tensor
    accuracy: Tensor


class TrainingStep:
    """Trains a network by one batch a call, as a recipe's tables [network], [optimizer] and [schedule] say.

    Everything that a step draws is a function of (seed, iteration), and so are the learning rates and BatchNorm's
    momentum: the state is the network's and the optimizer's, nothing else. Nothing waits for the device.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        precision: Precision = nullcontext,
        processes: Processes = ALONE,
    ) -> None:
        self.model = model
        self._rank = processes.rank
        # Of the loss, so that the mean of the processes' gradients is the gradient of the mean over all images.
        self._weight = len(processes.share(recipe.data.batch_size)) * processes.size / recipe.data.batch_size
        self.optimizer: Optimizer = new_optimizer(model, recipe)
        self._recipe = recipe
        self._precision = precision
        network = recipe.network
        # Statistics of an earlier training, the parent's or those that came with the weights, are averaged on.
        parent = recipe.parent
        continued = (parent is not None and parent.continue_statistics) or network.pretrained
        device = next(model.parameters()).device
        if network.batch_norm == "synchronized":
            synchronize_batch_norms(model, processes, device)
        self._average = CorrectedAverage(model, network.batch_norm_fraction, continued=continued)
        model.train()
        self._network = processes.wrapped(model, device)

    def __call__(self, iteration: int, images: Tensor, labels: Tensor) -> StepFigures:
        """Takes step `iteration`, counted from 1, on images (B, C, H, W) and labels (B,) on the network's device.

        Of several processes, each on its own rows of the batch, whose gradients come together in backward.
        Order: forward, loss, backward; clip (positions excluded); normalise the positions' gradient; step.
        Raises RuntimeError or ValueError where the operator refuses what it is given: a network that has diverged has
        positions that are not finite.
        """
        torch.manual_seed(network_seed(self._recipe.seed, iteration, self._rank))
        self._average.set(iteration)
        self._set_learning_rates(iteration)
        with self._precision():
            logits = self._network(images)
            loss = functional.cross_entropy(logits, labels)
        (loss if self._weight == 1 else loss * self._weight).backward()  # type: ignore[no-untyped-call]
        self._prepare_gradients(iteration)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels).float().mean()
        return StepFigures(loss.detach().float(), accuracy)

    def _set_learning_rates(self, iteration: int) -> None:
        rate = learning_rate(self._recipe, iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = position_learning_rate(self._recipe, iteration) if group["role"] == "positions" else rate

    def _prepare_gradients(self, iteration: int) -> None:
        groups = self.optimizer.param_groups
        if not positions_move(self._recipe, iteration):
            # None rather than zero: no momentum may build up while the positions stay put.
            for group in groups:
                if group["role"] == "positions":
                    for parameter in group["params"]:
                        parameter.grad = None
        if self._recipe.optimizer.gradient_clip:
            clipped = [p for group in groups if group["role"] != "positions" for p in group["params"]]
            nn.utils.clip_grad_norm_(clipped, self._recipe.optimizer.gradient_clip)
