"""The training of one network in one run directory: the loop around the step, its logs, checkpoints and evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from acu_core.data.decoder_pool import UnreadableImageError
from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.batch import recipe_batch
from acu_core.learn.evaluation import Evaluation, EvaluationStopped, evaluate_network
from acu_core.learn.network import load_network_state, new_network
from acu_core.learn.schedule import evaluates, saves
from acu_core.learn.step import TrainingStep
from acu_core.learn.workplace import Workplace
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint, LogLengths, RunFacts, save_checkpoint
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import EvaluationRecord
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.runs.timings import TimingRecord
from acu_core.train.recorder import DivergedError, Recorder
from acu_core.train.restoring import open_logs, refuse_other_recipe, restore_loss_scale, restore_state
from acu_core.train.shape_collector import BLOCK, BLOCK_SECONDS, layer_entries


@dataclass(frozen=True)
class _Logs:
    snapshots: SnapshotWriter
    metrics: LogWriter
    timings: LogWriter
    recorder: Recorder


@dataclass
class _Session:
    """What one process trains of a run: the iteration and the time at which it began, and what it spent evaluating."""

    first: int
    started: float
    evaluating: float = 0.0


class RunTraining:
    """Owns the network and the logs of a run. Call `begin` or `restore`, then `run`, then `close`."""

    def __init__(
        self,
        run: RunDirectory,
        recipe: Recipe,
        place: Workplace,
        *,
        pretrained: bool = True,
        stop: Callable[[], bool],
        report: Callable[[int, float, float], None],
    ) -> None:
        self.directory = run
        self.recipe = recipe
        self.place = place
        self.iteration = 0
        self.evaluation: Evaluation | None = None
        self.model = new_network(recipe, place, pretrained=pretrained)
        self._step = TrainingStep(self.model, recipe)
        self._stop = stop
        self._report = report
        self._layers = active_layers(self.model)
        self._opened: _Logs | None = None
        self._saved = -1
        # Iterations saved by this process whose networks compute finite numbers, as far as is known.
        self._good: list[int] = []
        self._imported: frozenset[int] = frozenset()
        self._written = time.monotonic()

    def begin(self, initial_state: Mapping[str, Any] | None = None) -> None:
        """Starts at iteration 0 with empty logs; the network starts with `initial_state` where one is given."""
        if initial_state is not None:
            load_network_state(self.model, initial_state, "the parent's checkpoint")
        hidden = self.place.data.hidden_positions
        facts = TrainingFacts(self.recipe.schedule.warm_up, hidden.tolist() if hidden is not None else None)
        snapshots = SnapshotWriter.create(self.directory.positions, layer_entries(self._layers), facts, replace=True)
        metrics = LogWriter(self.directory.metrics, replace=True)
        self._open(snapshots, metrics, LogWriter(self.directory.timings, replace=True))
        self._logs.recorder.write_snapshot(0)
        self._save()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint, both logs cut to its lengths.

        Raises UserError that names what does not fit or is damaged, and then has changed nothing on disk.
        """
        imported = self.directory.imported_iterations
        refuse_other_recipe(checkpoint, self.recipe, self.directory)
        restore_state(checkpoint, self.model, self._step.optimizer, self.recipe.optimizer)
        restore_loss_scale(
            checkpoint, self._step.loss_scaling, imported=checkpoint.iteration in self.directory.imported_iterations
        )
        snapshots, metrics, timings = logs = open_logs(self.directory, checkpoint, self._layers, imported=imported)
        for log in logs:
            log.cut()
        self._open(snapshots, metrics, timings)
        self._imported = imported
        self.iteration = self._saved = checkpoint.iteration
        self._good = [checkpoint.iteration]

    def run(self) -> bool:
        """Trains to the recipe's last iteration. False: it was asked to stop, and has saved.

        Raises DivergedError when a loss is not finite; the checkpoints stay as they were.
        """
        session = _Session(self.iteration, time.monotonic())
        try:
            finished = self._train(session)
        except UnreadableImageError as error:
            self._save()
            raise UserError(
                f"{error} (iteration {self.iteration} is saved)", Remedy(Action.RESUME, str(self.directory.path))
            ) from error
        except DivergedError as error:
            raise DivergedError(
                f"{error}: start again with a smaller optimizer.learning_rate or with optimizer.gradient_clip"
                f"{self._last_good()}"
            ) from error
        if not finished:
            self._save()
        return finished

    def close(self) -> None:
        """Closes the logs."""
        if self._opened is not None:
            self._opened.snapshots.close()
            self._opened.metrics.close()
            self._opened.timings.close()

    def _train(self, session: _Session) -> bool:
        # A checkpoint is always saved before the evaluation of its iteration, so a resumed run begins with that, and a
        # run that is extended has no trace of where it once ended.
        if self.iteration > 0 and evaluates(self.recipe, self.iteration) and not self._evaluate(session):
            return False
        while self.iteration < self.recipe.schedule.iterations:
            if self._stop():
                return False
            self._train_one(self.iteration + 1)
            self.iteration += 1
            if self._logs.recorder.pending >= BLOCK or time.monotonic() - self._written >= BLOCK_SECONDS:
                self._flush()
            evaluation_due = evaluates(self.recipe, self.iteration)
            if evaluation_due or saves(self.recipe, self.iteration):
                self._save()
            if evaluation_due and not self._evaluate(session):
                return False
        return True

    def _train_one(self, iteration: int) -> None:
        images, labels = recipe_batch(self.recipe, self.place.data, iteration)
        try:
            figures = self._step(iteration, images, labels)
        except (RuntimeError, ValueError):
            # The CPU operator refuses positions that are not finite; the loss that made them so says it better.
            self._flush()
            self._check_finite()
            raise
        self._logs.recorder.collect(iteration, figures)

    def _open(self, snapshots: SnapshotWriter, metrics: LogWriter, timings: LogWriter) -> None:
        self._opened = _Logs(snapshots, metrics, timings, Recorder(self.recipe, self._layers, snapshots, metrics))

    @property
    def _logs(self) -> _Logs:
        if self._opened is None:
            raise RuntimeError("call begin or restore first")
        return self._opened

    def _flush(self) -> None:
        means = self._logs.recorder.flush()
        self._written = time.monotonic()
        if means is not None:
            self._report(self.iteration, means.loss, means.accuracy)

    def _check_finite(self) -> None:
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise DivergedError(f"{name} is not finite after iteration {self.iteration}")

    def _save(self) -> None:
        self._flush()
        if self._saved == self.iteration:
            return
        # The loss of this iteration was computed before its step: the step itself may have broken the network.
        self._check_finite()
        if self._step.loss_scaling.exhausted:
            raise DivergedError(f"no gradient is finite in float16 at iteration {self.iteration}, however it is scaled")
        snapshots, metrics = self._logs.snapshots, self._logs.metrics
        snapshots.sync()
        metrics.sync()
        save_checkpoint(
            self.directory,
            self.iteration,
            model=self.model.state_dict(),
            optimizer=self._step.optimizer.state_dict(),
            loss_scale=self._step.loss_scaling.state_dict(),
            log_lengths=LogLengths(snapshots.length, metrics.length),
            facts=RunFacts(recipe_toml(self.recipe), self.directory.environment_sha256),
            never_delete=self._imported,
        )
        self._saved = self.iteration
        self._good.append(self.iteration)

    def _last_good(self) -> str:
        if not self._good:
            return ""
        return f"; the last good checkpoint is of iteration {self._good[-1]}, in {self.directory.checkpoints}"

    def _evaluate(self, session: _Session) -> bool:
        """False when it was asked to stop before the end of the evaluation."""
        self._flush()
        begun = time.monotonic()
        data = self.place.data
        try:
            result = evaluate_network(
                self.model,
                data,
                batch_size=self.recipe.data.evaluation_batch_size,
                memory_format=self.recipe.machine.memory_format,
                stop=self._stop,
            )
        except EvaluationStopped:
            return False
        if not math.isfinite(result.loss):
            # It was saved before it was evaluated.
            self._good = [iteration for iteration in self._good if iteration != self.iteration]
            raise DivergedError(f"the test loss became {result.loss} at iteration {self.iteration}")
        self.evaluation = result
        paper = self.recipe.paper
        # Else nobody asks for it, and the file keeps the bytes that it always had.
        top5 = data.classes > 10 or (paper is not None and paper.measure == "top-5 accuracy %")
        record = EvaluationRecord(
            iteration=self.iteration,
            test_loss=result.loss,
            test_accuracy=result.accuracy,
            test_errors=result.errors,
            test_images=result.images,
            test_top5_errors=result.top5_errors if top5 else None,
        )
        self._logs.metrics.append(record.entry())
        ended = time.monotonic()
        # Evaluations are counted apart: how often they come is no part of the speed.
        training = begun - session.started - session.evaluating
        session.evaluating += ended - begun
        speed = round((self.iteration - session.first) / training, 3) if training > 0 else None
        timing = TimingRecord(
            iteration=self.iteration,
            session=session.first,
            seconds=round(begun - session.started, 3),
            iterations_per_second=speed,
            evaluation_seconds=round(ended - begun, 3),
        )
        self._logs.timings.append(timing.entry())
        return True
