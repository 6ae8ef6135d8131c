"""What a run goes on from: a checkpoint's state put into network and optimizer, and logs that end where it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from acu_core.errors import UserError
from acu_core.learn.network import load_network_state
from acu_core.runs.checkpoints import Checkpoint
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

# Set anew at each step.
_FREE = ("lr", "params")


def restore_state(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, *, trained: bool) -> None:
    """Puts the checkpoint's state into a network and its new optimizer; `trained` says whether steps led to it.

    Raises UserError that names the checkpoint when an entry is missing, foreign, or of another shape.
    """
    load_network_state(model, checkpoint.model, str(checkpoint.path))
    expected = optimizer.state_dict()["param_groups"]
    try:
        _check_groups(expected, checkpoint.optimizer["param_groups"])
        optimizer.load_state_dict(checkpoint.optimizer)
        _check_buffers(optimizer)
        if trained:
            _check_complete(optimizer)
    # What torch makes of foreign content is not told in its documentation.
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{checkpoint.path} does not fit the run's recipe: its optimizer: {error}") from error


def open_logs(
    run: RunDirectory, checkpoint: Checkpoint, layers: Sequence[LayerEntry], *, imported: Collection[int]
) -> tuple[SnapshotWriter, LogWriter, LogWriter]:
    """Snapshots, metrics and timings, to go on after the checkpoint; each is cut by `cut`, or by its first append.

    Raises UserError that names the file which is damaged or does not end with the checkpoint's iteration where the
    checkpoint says.
    """
    iteration, lengths = checkpoint.iteration, checkpoint.log_lengths
    metrics = read_metrics(run.metrics, length=lengths.metrics, imported=imported)
    last = metrics.training[-1].iteration if metrics.training else None
    if last != iteration if last is not None else iteration not in {0, *imported}:
        raise UserError(
            f"{checkpoint.path} is damaged: {run.metrics} ends with iteration {last or 0} where the checkpoint says"
        )
    snapshots = SnapshotWriter.open_for_append(run.positions, lengths.positions)
    try:
        if snapshots.last_iteration != iteration:
            raise UserError(
                f"{checkpoint.path} is damaged: {run.positions} ends with iteration {snapshots.last_iteration} where "
                "the checkpoint says"
            )
        if snapshots.layers != tuple(layers):
            raise UserError(f"{run.positions} is of other layers than the network of the run's recipe")
        log = LogWriter.open_for_append(run.metrics, lengths.metrics)
        try:
            # Times are no part of the result: a run goes on without those of its past.
            exists = run.timings.exists()
            timings = LogWriter.open_for_append(run.timings) if exists else LogWriter(run.timings)
        except BaseException:
            log.close()
            raise
    except BaseException:
        snapshots.close()
        raise
    return snapshots, log, timings


def _check_groups(expected: Sequence[Mapping[str, Any]], found: Sequence[Any]) -> None:
    if len(found) != len(expected):
        raise ValueError(f"it has {len(found)} parameter groups, not {len(expected)}")
    for ours, theirs in zip(expected, found, strict=True):
        if not isinstance(theirs, dict) or theirs.get("params") != ours["params"]:
            raise ValueError("its parameter groups are of other parameters")
        for key in ours.keys() & theirs.keys() - {*_FREE}:
            if theirs[key] != ours[key]:
                raise ValueError(f"{key} is {theirs[key]!r}, by the recipe it is {ours[key]!r}")


def _check_buffers(optimizer: Optimizer) -> None:
    known = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for parameter, state in optimizer.state.items():
        if parameter not in known or not isinstance(state, dict):
            raise ValueError("it has a state of no parameter")
        for name, value in state.items():
            # A counter of steps has no dimensions.
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"{name} is {tuple(value.shape)} for a parameter of shape {tuple(parameter.shape)}")


def _check_complete(optimizer: Optimizer) -> None:
    """Positions have no state before the end of the warm-up; all else has from the first step on."""
    for positions in (False, True):
        parameters = [
            parameter
            for group in optimizer.param_groups
            if (group.get("role") == "positions") is positions
            for parameter in group["params"]
            if parameter.requires_grad
        ]
        names = [frozenset(optimizer.state[p]) if p in optimizer.state else frozenset() for p in parameters]
        if len(set(names)) > 1:
            raise ValueError("the state of some parameters is missing")
