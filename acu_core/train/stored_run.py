"""A run that lies on disk, opened: the one way to its recipe, environment, checkpoints, network and data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from acu_core.errors import Action, Remedy, UserError
from acu_core.learn.network import load_network_state, new_network
from acu_core.learn.processes import Processes
from acu_core.learn.workplace import Workplace
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint, list_checkpoints, load_checkpoint, load_latest_checkpoint
from acu_core.runs.environment_file import Environment
from acu_core.runs.metrics import Metrics, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.timings import TimingRecord, read_timings
from acu_core.train.environment import recorded_workplace
from acu_core.train.events import Events
from acu_core.train.run_recipe import run_recipe


@dataclass(frozen=True)
class StoredRun:
    """A run's directory with its recipe and its environment, both checked. Get one by `open`."""

    directory: RunDirectory
    recipe: Recipe
    environment: Environment

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> StoredRun:
        """The run at `path`. Raises UserError when there is none, or its recipe or environment is damaged."""
        directory = RunDirectory.open(path)
        return cls(directory, run_recipe(directory), directory.environment)

    @property
    def path(self) -> Path:
        """Where it lies, as it was given."""
        return self.directory.path

    def newest_checkpoint(self, events: Events) -> Checkpoint | None:
        """The newest checkpoint that is whole, with a warning of newer ones that are not; None where there is none.

        Raises UserError when there are checkpoints but none is whole.
        """
        checkpoint = load_latest_checkpoint(self.directory)
        if checkpoint is not None and checkpoint.skipped:
            damaged = "; ".join(checkpoint.skipped)
            events.warn(f"{damaged}; taking the checkpoint of iteration {checkpoint.iteration} instead")
        return checkpoint

    def checkpoint(self, iteration: int | None, events: Events) -> Checkpoint:
        """The checkpoint of an iteration, or the newest one. Raises UserError when there is none."""
        if iteration is not None:
            return load_checkpoint(self.directory, iteration)
        checkpoint = self.newest_checkpoint(events)
        if checkpoint is None:
            raise UserError(f"{self.path} has no checkpoint yet", Remedy(Action.RESUME, str(self.path)))
        return checkpoint

    def metrics(self) -> Metrics:
        """What its training and evaluations came to; nothing where it has not begun.

        Raises UserError when the log is damaged, or ends before the newest checkpoint.
        """
        run = self.directory
        metrics = (
            read_metrics(run.metrics, imported=run.imported_iterations) if run.metrics.exists() else Metrics((), ())
        )
        reached = max((number for number, _ in list_checkpoints(run)), default=0)
        if metrics.iteration < reached and reached not in run.imported_iterations:
            raise UserError(
                f"{run.metrics} ends with iteration {metrics.iteration}, but the run has a checkpoint of iteration "
                f"{reached}: lines are missing, restore the file from a copy"
            )
        return metrics

    def timings(self) -> tuple[TimingRecord, ...]:
        """How long its evaluations and the iterations before them took. Raises UserError when the log is damaged."""
        return read_timings(self.directory.timings) if self.directory.timings.exists() else ()

    def workplace(
        self,
        recipe: Recipe | None = None,
        *,
        data_path: Path | None = None,
        download: bool = False,
        device: str | None = None,
        events: Events,
        processes: Processes | None = None,
    ) -> Workplace:
        """Data, device and threads as recorded, for the run's own recipe or another one on the same data.

        `processes` are those that are to train there.
        """
        return recorded_workplace(
            recipe or self.recipe,
            self.environment,
            data_path=data_path,
            download=download,
            device=device,
            events=events,
            processes=processes,
        )

    def network(self, checkpoint: Checkpoint, place: Workplace) -> nn.Module:
        """The run's network as the checkpoint holds it. Changes PyTorch's global generator."""
        model = new_network(self.recipe, place, pretrained=False)
        load_network_state(model, checkpoint.model, str(checkpoint.path))
        return model
