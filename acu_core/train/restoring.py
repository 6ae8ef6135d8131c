"""What a run goes on from: a checkpoint's state put into network and optimizer, and logs that end where it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from acu_core.errors import UserError
from acu_core.learn.loss_scaling import LossScaling
from acu_core.learn.network import load_network_state
from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.recipe.differences import recipe_differences
from acu_core.recipe.optimizer_table import OptimizerTable
from acu_core.recipe.recipe_file import parse_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import Checkpoint
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_writer import SnapshotWriter
from acu_core.train.shape_collector import layer_entries

CHANGEABLE = (
    "schedule.iterations",
    "schedule.divisions",
    "schedule.evaluate_every",
    "schedule.checkpoint_every",
    "schedule.keep",
    "data.path",
    "data.options.skip_broken",
    "description",
    "paper",
)
"""What may change in a run that has begun: how far it goes, what it records, where its data lies, and words."""

# Set anew at each step.
_FREE = ("lr", "params")


def refuse_other_recipe(checkpoint: Checkpoint, recipe: Recipe, run: RunDirectory) -> None:
    """Raises UserError where the run's recipe is not the one that led to the checkpoint, but for `CHANGEABLE` keys."""
    if checkpoint.facts is None:
        return
    saved = parse_recipe(checkpoint.facts.recipe, str(checkpoint.path))
    found = recipe_differences(recipe, saved, CHANGEABLE)
    if found:
        key, now, then = found[0]
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise UserError(
            f"{run.path / 'recipe.toml'} was changed since {checkpoint.path} was saved ({key} is {now}, it was {then}"
            f"{more}): a run that has begun goes on with its own recipe, put it back or start a new run"
        )


def restore_state(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, table: OptimizerTable) -> None:
    """Puts the checkpoint's state into a network and its new optimizer, which `table` describes.

    Raises UserError that names the checkpoint when an entry is missing, foreign, or of another shape.
    """
    load_network_state(model, checkpoint.model, str(checkpoint.path))
    expected = optimizer.state_dict()["param_groups"]
    needed = {"weight_decay", *table.arguments(), *(table.position_arguments() or {})}
    try:
        _check_groups(expected, checkpoint.optimizer["param_groups"], needed)
        _check_buffers(optimizer, expected, checkpoint.optimizer["state"])
        optimizer.load_state_dict(checkpoint.optimizer)
    # What torch makes of foreign content is not told in its documentation.
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{checkpoint.path} does not fit the run's recipe: its optimizer: {error}") from error


def restore_average(checkpoint: Checkpoint, average: nn.Module) -> None:
    """Puts the checkpoint's averaged weights into the averaged network. Raises UserError where it has none."""
    if checkpoint.average is None:
        raise UserError(f"{checkpoint.path} does not fit the run's recipe: it has no averaged weights")
    load_network_state(average, checkpoint.average, str(checkpoint.path))


def restore_loss_scale(checkpoint: Checkpoint, scaling: LossScaling, *, imported: bool) -> None:
    """Puts the checkpoint's loss scale into a step's; an imported checkpoint has none and begins with the usual one.

    Raises UserError that names the checkpoint when it is missing, foreign or of no use.
    """
    if imported and checkpoint.loss_scale is None:
        return
    try:
        scaling.load_state_dict(checkpoint.loss_scale)
    except ValueError as error:
        raise UserError(f"{checkpoint.path} does not fit the run's recipe: {error}") from error


def open_logs(
    run: RunDirectory, checkpoint: Checkpoint, layers: Mapping[str, ActiveConv2d], *, imported: Collection[int]
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
        if snapshots.layers != tuple(layer_entries(layers)):
            raise UserError(f"{run.positions} is of other layers than the network of the run's recipe")
        for place, (name, layer) in enumerate(layers.items()):
            positions = layer.positions.detach().float().cpu().numpy()
            if positions.tobytes() != snapshots.last_positions[place].tobytes():
                raise UserError(
                    f"{run.positions} is of another run, or {checkpoint.path} is: the positions of {name} in iteration "
                    f"{iteration} are not the same"
                )
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


def _check_groups(expected: Sequence[Mapping[str, Any]], found: Sequence[Any], needed: Collection[str]) -> None:
    if len(found) != len(expected):
        raise ValueError(f"it has {len(found)} parameter groups, not {len(expected)}")
    for ours, theirs in zip(expected, found, strict=True):
        if not isinstance(theirs, dict) or theirs.get("params") != ours["params"]:
            raise ValueError("its parameter groups are of other parameters")
        # Others are PyTorch's own, and more in later versions.
        if missing := sorted(ours.keys() & {*needed} - theirs.keys()):
            raise ValueError(f"it does not say {missing[0]}")
        for key in ours.keys() & theirs.keys() - {*_FREE}:
            if theirs[key] != ours[key]:
                raise ValueError(f"{key} is {theirs[key]!r}, by the recipe it is {ours[key]!r}")


def _check_buffers(optimizer: Optimizer, groups: Sequence[Mapping[str, Any]], states: Mapping[int, Any]) -> None:
    # Before PyTorch converts them to the parameters' dtype.
    parameters = {
        number: parameter
        for group, ours in zip(groups, optimizer.param_groups, strict=True)
        for number, parameter in zip(group["params"], ours["params"], strict=True)
    }
    for number, state in states.items():
        if number not in parameters or not isinstance(state, dict) or not state:
            raise ValueError("it has a state of no parameter, or an empty one")
        parameter = parameters[number]
        for name, value in state.items():
            if name == "step":
                continue
            if not isinstance(value, torch.Tensor) or (value.shape, value.dtype) != (parameter.shape, parameter.dtype):
                kind = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, torch.Tensor) else repr(value)[:40]
                raise ValueError(f"{name} is {kind} for a parameter of {tuple(parameter.shape)} {parameter.dtype}")
