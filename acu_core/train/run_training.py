"""The training of one network in one run directory: the loop around the step, its logs, checkpoints and evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from acu_core.data.data_set import DataSet
from acu_core.data.decoder_pool import UnreadableImageError
from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.averaged_weights import AveragedWeights
from acu_core.learn.batch import recipe_batch
from acu_core.learn.evaluated_moment import EvaluatedMoment, evaluate_moment
from acu_core.learn.evaluation import Evaluation, EvaluationStopped, evaluate_network
from acu_core.learn.meetings import Meetings
from acu_core.learn.network import load_network_state, new_network
from acu_core.learn.processes import LostProcessError
from acu_core.learn.schedule import evaluates, saves
from acu_core.learn.step import TrainingStep
from acu_core.learn.workplace import Workplace
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.best_evaluation import best_evaluation
from acu_core.runs.checkpoints import Checkpoint, LogLengths, RunFacts, first_not_finite, save_checkpoint
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import EvaluationRecord, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.runs.timings import TimingRecord
from acu_core.train.broken_image_log import BrokenImageLog
from acu_core.train.evaluation_record import evaluation_record
from acu_core.train.kernel_record import record_choices
from acu_core.train.recorder import DivergedError, Recorder
from acu_core.train.restoring import (
    open_logs,
    refuse_other_recipe,
    restore_average,
    restore_loss_scale,
    restore_state,
)
from acu_core.train.shape_collector import BLOCK, BLOCK_SECONDS, layer_entries


@dataclass(frozen=True)
class _Files:
    """What the first of several processes writes, and no other."""

    snapshots: SnapshotWriter
    metrics: LogWriter
    timings: LogWriter


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
        self.evaluated: EvaluatedMoment | None = None
        self.model = new_network(recipe, place, pretrained=pretrained)
        # Before the step, which may give the network's layers other classes: its copy has none but its own.
        self._average = AveragedWeights(self.model, recipe.average.decay) if recipe.average is not None else None
        self._processes = place.processes
        self._step = TrainingStep(self.model, recipe, processes=place.processes)
        self._stop = stop
        self._meetings = Meetings(place.processes, stop)
        self._report = report
        self._layers = active_layers(self.model)
        self._files: _Files | None = None
        self._opened: Recorder | None = None
        self._broken = BrokenImageLog(run, place.data)
        self._saved = -1
        # Iterations saved by this process whose networks compute finite numbers, as far as is known.
        self._good: list[int] = []
        self._imported: frozenset[int] = frozenset()
        self._best: EvaluationRecord | None = None
        self._written = time.monotonic()

    def begin(self, initial_state: Mapping[str, Any] | None = None) -> None:
        """Starts at iteration 0 with empty logs; the network starts with `initial_state` where one is given."""
        if initial_state is not None:
            load_network_state(self.model, initial_state, "the parent's checkpoint")
        if self._average is not None:
            self._average.restart()
        if self._processes.leads:
            self._files = self._new_files()
        self._open()
        with self._processes.together():
            self._recorder.write_snapshot(0)
        self._save()

    def _new_files(self) -> _Files:
        hidden = self.place.data.hidden_positions
        facts = TrainingFacts(self.recipe.schedule.warm_up, hidden.tolist() if hidden is not None else None)
        snapshots = SnapshotWriter.create(self.directory.positions, layer_entries(self._layers), facts, replace=True)
        metrics = LogWriter(self.directory.metrics, replace=True)
        return _Files(snapshots, metrics, LogWriter(self.directory.timings, replace=True))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint, both logs cut to its lengths.

        Raises UserError that names what does not fit or is damaged, and then has changed nothing on disk.
        """
        refuse_other_recipe(checkpoint, self.recipe, self.directory)
        restore_state(checkpoint, self.model, self._step.optimizer, self.recipe.optimizer)
        if self._average is not None:
            restore_average(checkpoint, self._average.model)
        restore_loss_scale(
            checkpoint, self._step.loss_scaling, imported=checkpoint.iteration in self.directory.imported_iterations
        )
        with self._processes.together():
            if self._processes.leads:
                imported = self.directory.imported_iterations
                logs = open_logs(self.directory, checkpoint, self._layers, imported=imported)
                for log in logs:
                    log.cut()
                self._files = _Files(*logs)
                self._imported = imported
                if self.recipe.schedule.keep_best:
                    self._best = best_evaluation(read_metrics(self.directory.metrics, imported=imported).evaluations)
        self._open()
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
            if self._processes.several:
                # The others wait for this process's share of the step: nothing more can be saved together.
                saved = f"iteration {self._saved} is saved"
            else:
                self._save()
                saved = f"iteration {self.iteration} is saved"
            raise UserError(
                f"{error} ({saved})", Remedy(Action.RESUME, str(self.directory.path)), *error.remedies
            ) from error
        except DivergedError as error:
            raise DivergedError(
                f"{error}: start again with a smaller optimizer.learning_rate or with optimizer.gradient_clip"
                f"{self._last_good()}"
            ) from error
        except RuntimeError as error:
            lost = self._processes.lost(error)
            if lost is None:
                raise
            raise LostProcessError(
                f"{lost}; iteration {self._saved} is saved", Remedy(Action.RESUME, str(self.directory.path))
            ) from error
        if not finished:
            self._save()
        return finished

    @property
    def best_iteration(self) -> int | None:
        """The one whose checkpoint is kept as the best; None where the recipe does not ask for it."""
        return self._best.iteration if self.recipe.schedule.keep_best and self._best is not None else None

    def close(self) -> None:
        """Closes the logs."""
        if self._files is not None:
            self._files.snapshots.close()
            self._files.metrics.close()
            self._files.timings.close()

    def _train(self, session: _Session) -> bool:
        # A checkpoint is always saved before the evaluation of its iteration, so a resumed run begins with that, and a
        # run that is extended has no trace of where it once ended.
        if self.iteration > 0 and evaluates(self.recipe, self.iteration) and not self._evaluate(session):
            return False
        while self.iteration < self.recipe.schedule.iterations:
            if self._meetings.stop(self.iteration):
                return False
            self._train_one(self.iteration + 1)
            self.iteration += 1
            if self._writes():
                self._flush()
            evaluation_due = evaluates(self.recipe, self.iteration)
            if evaluation_due or saves(self.recipe, self.iteration):
                self._save()
            if evaluation_due and not self._evaluate(session):
                return False
        return True

    def _train_one(self, iteration: int) -> None:
        images, labels = recipe_batch(self.recipe, self.place.data, iteration, self._processes)
        try:
            figures = self._step(iteration, images, labels)
        except (RuntimeError, ValueError):
            # The CPU operator refuses positions that are not finite; the loss that made them so says it better.
            if self._processes.several:
                # The others may be anywhere, so they cannot be met.
                self._recorder.check_own()
            else:
                self._flush()
            self._check_finite()
            raise
        if self._average is not None:
            self._average.update()
        self._recorder.collect(iteration, figures)

    def _open(self) -> None:
        files = self._files
        snapshots, metrics = (files.snapshots, files.metrics) if files is not None else (None, None)
        # A graph holds what is done on its own device: work on another would not be done again, without a word.
        places = {tensor.device for layer in self._layers.values() for tensor in (layer.positions, layer.weight)}
        graph = self._step.new_graph if places == {self._step.device} else None
        self._opened = Recorder(self.recipe, self._layers, snapshots, metrics, self._processes, graph)

    @property
    def _recorder(self) -> Recorder:
        if self._opened is None:
            raise RuntimeError("call begin or restore first")
        return self._opened

    def _writes(self) -> bool:
        if self._processes.several:
            # Clocks differ, iterations do not.
            return self._meetings.due(self.iteration)
        return self._recorder.pending >= BLOCK or time.monotonic() - self._written >= BLOCK_SECONDS

    def _flush(self) -> None:
        means = self._recorder.flush()
        self._broken.update(self.iteration, self._processes.collected, writes=self._processes.leads)
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
        self._processes.equalize(self.model)
        if self._average is not None:
            self._processes.equalize(self._average.model)
        with self._processes.together():
            if self._files is not None:
                self._save_files(self._files)
        self._saved = self.iteration
        self._good.append(self.iteration)

    def _save_files(self, files: _Files) -> None:
        # The loss of this iteration was computed before its step: the step itself may have broken the network.
        self._check_finite()
        if self._step.loss_scaling.exhausted:
            raise DivergedError(f"no gradient is finite in float16 at iteration {self.iteration}, however it is scaled")
        optimizer = self._step.optimizer.state_dict()
        # Weights may be finite all the same, AdamW's for one; such a checkpoint could not be gone on from.
        broken = first_not_finite({"optimizer": optimizer})
        if broken is not None:
            raise DivergedError(f"{broken} is not finite after iteration {self.iteration}")
        files.snapshots.sync()
        files.metrics.sync()
        record_choices(self.directory, self.place.device)
        save_checkpoint(
            self.directory,
            self.iteration,
            model=self.model.state_dict(),
            optimizer=optimizer,
            loss_scale=self._step.loss_scaling.state_dict(),
            log_lengths=LogLengths(files.snapshots.length, files.metrics.length),
            facts=RunFacts(recipe_toml(self.recipe), self.directory.environment_sha256),
            average=self._average.model.state_dict() if self._average is not None else None,
            never_delete=self._never_deleted(),
        )

    def _never_deleted(self) -> set[int]:
        best = self.best_iteration
        return {*self._imported, *self.recipe.schedule.keep, *([best] if best is not None else [])}

    def _last_good(self) -> str:
        if not self._good:
            return ""
        return f"; the last good checkpoint is of iteration {self._good[-1]}, in {self.directory.checkpoints}"

    def _evaluate(self, session: _Session) -> bool:
        """False when it was asked to stop before the end of the evaluation."""
        self._flush()
        begun = time.monotonic()
        data = self.place.data

        def evaluate(model: nn.Module, part: DataSet) -> Evaluation:
            return evaluate_network(
                model,
                part,
                batch_size=self.recipe.data.evaluation_batch_size,
                memory_format=self.recipe.machine.memory_format,
                stop=self._stop,
                processes=self._processes,
            )

        try:
            found = evaluate_moment(evaluate, self.model, self._average.model if self._average else None, data)
        except EvaluationStopped:
            return False
        wrong = found.not_finite()
        if wrong is not None:
            # It was saved before it was evaluated.
            self._good = [iteration for iteration in self._good if iteration != self.iteration]
            raise DivergedError(f"the {wrong[0]} became {wrong[1]} at iteration {self.iteration}")
        self._broken.update(self.iteration, self._processes.collected, writes=self._processes.leads)
        self.evaluated = found
        with self._processes.together():
            if self._files is not None:
                self._write_evaluation(session, self._files, found, begun)
        return True

    def _write_evaluation(self, session: _Session, files: _Files, found: EvaluatedMoment, begun: float) -> None:
        data, paper = self.place.data, self.recipe.paper
        # Else nobody asks for it, and the file keeps the bytes that it always had.
        top5 = data.classes > 10 or (paper is not None and paper.measure == "top-5 accuracy %")
        record = evaluation_record(self.iteration, found, top5=top5)
        files.metrics.append(record.entry())
        self._best = best_evaluation([self._best, record] if self._best is not None else [record])
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
        files.timings.append(timing.entry())
