"""One training iteration: from images and labels to a changed network. What `acu train` trains and what is timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.optim.optimizer import Optimizer

from acu_core.data.randomness import network_seed
from acu_core.learn.arithmetic import Arithmetic
from acu_core.learn.batch_norm import CorrectedAverage
from acu_core.learn.captured_step import CapturedGradients, CapturedUpdate, Figures
from acu_core.learn.compilation import compiled_forward, compiles, compiling
from acu_core.learn.joined_optimizer import JoinedOptimizer
from acu_core.learn.loss_scaling import LossScaling
from acu_core.learn.network_draws import seed_network_draws
from acu_core.learn.optimizer import new_optimizer
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.schedule import learning_rate, position_learning_rate, positions_move
from acu_core.learn.step_graph import CudaGraph, Graph, captures
from acu_core.learn.synchronized_batch_norm import synchronize_batch_norms
from acu_core.recipe.schema import Recipe


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
    momentum: the state is the network's, the optimizer's and, in float16, the loss scale, nothing else. Nothing waits
    for the device, but for float16 (see `LossScaling`).

    It computes with the precision of the recipe's table [machine], calls a compiled network and replays captured graphs
    where that says so; `model` is the network itself all the same.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, *, processes: Processes = ALONE) -> None:
        self.model = model
        self._rank = processes.rank
        # Of the loss, so that the mean of the processes' gradients is the gradient of the mean over all images.
        self._weight = len(processes.share(recipe.data.batch_size)) * processes.size / recipe.data.batch_size
        self.optimizer: Optimizer = new_optimizer(model, recipe)
        self._recipe = recipe
        device = _device_of(model)
        self._arithmetic = Arithmetic.of(recipe, device)
        self.loss_scaling = LossScaling(device.type, enabled=self._arithmetic.scales_loss)
        compiled = compiles(recipe, device)
        self._compiling = compiling if compiled else nullcontext
        network = recipe.network
        # Statistics of an earlier training, the parent's or those that came with the weights, are averaged on.
        parent = recipe.parent
        continued = (parent is not None and parent.continue_statistics) or network.pretrained
        if network.batch_norm == "synchronized":
            synchronize_batch_norms(model, processes, device)
        self.device = device
        self._average = CorrectedAverage(
            model,
            network.batch_norm_fraction,
            continued=continued,
            compiled=compiled,
            # On a GPU with and without a graph, so that both have the same bits.
            afterwards=device.type == "cuda",
        )
        model.train()
        self._forward = compiled_forward(processes.wrapped(model, device), recipe, device)
        self._captured_gradients: CapturedGradients | None = None
        self._captured_update: CapturedUpdate | None = None
        self.new_graph: Callable[[], Graph] | None = None
        """What captures work of this training; None where it is not to be captured."""
        if captures(recipe, device, processes):
            self.new_graph = lambda: CudaGraph(device)
            self._captured_gradients = CapturedGradients(model.parameters(), self.new_graph)
            if _steps_alike(self.optimizer) and not self._arithmetic.scales_loss:
                self._captured_update = CapturedUpdate(self.new_graph)

    def __call__(self, iteration: int, images: Tensor, labels: Tensor) -> StepFigures:
        """Takes step `iteration`, counted from 1, on images (B, C, H, W) and labels (B,) on the network's device.

        Of several processes, each on its own rows of the batch, whose gradients come together in backward.
        Order: forward, loss, backward; unscale; clip (positions excluded); normalise the positions' gradient; step.
        Raises CompilationError where the network cannot be compiled, and RuntimeError or ValueError where the operator
        refuses what it is given: a network that has diverged has positions that are not finite.
        """
        seed_network_draws(network_seed(self._recipe.seed, iteration, self._rank), self.device)
        self._average.set(iteration)
        self._set_learning_rates(iteration)
        with self._arithmetic.step():
            loss, accuracy = self._gradients(images, labels)
            self._average.finish()
            self._update(iteration)
        self.optimizer.zero_grad(set_to_none=True)
        return StepFigures(loss, accuracy)

    def _gradients(self, images: Tensor, labels: Tensor) -> Figures:
        captured = self._captured_gradients
        if captured is None:
            return self._compute_gradients(images, labels)
        return captured(self._compute_gradients, images, labels)

    def _compute_gradients(self, images: Tensor, labels: Tensor) -> Figures:
        with self._compiling():
            with self._arithmetic.forward():
                logits = self._forward(images)
                loss = functional.cross_entropy(logits.float(), labels)
            self.loss_scaling.backward(loss if self._weight == 1 else loss * self._weight)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels).float().mean()
        return loss.detach().float(), accuracy

    def _update(self, iteration: int) -> None:
        def update() -> None:
            self._prepare_gradients(iteration)
            self.loss_scaling.step(self.optimizer)

        captured, gradients = self._captured_update, self._captured_gradients
        if captured is not None and gradients is not None and gradients.replayed:
            rates = tuple(group["lr"] for group in self.optimizer.param_groups)
            captured((rates, positions_move(self._recipe, iteration)), update)
        else:
            update()

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
        self.loss_scaling.unscale(self.optimizer)
        if self._recipe.optimizer.gradient_clip:
            clipped = [p for group in groups if group["role"] != "positions" for p in group["params"]]
            nn.utils.clip_grad_norm_(clipped, self._recipe.optimizer.gradient_clip)


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _steps_alike(optimizer: Optimizer) -> bool:
    """Whether its steps differ in their learning rates alone; AdamW, for one, counts them in numbers of Python."""
    parts = optimizer.parts if isinstance(optimizer, JoinedOptimizer) else (optimizer,)
    return all(type(part) is SGD for part in parts)
