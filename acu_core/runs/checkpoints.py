"""Checkpoints: everything that a run needs to go on with the same bits.

`checkpoints/<iteration, at least 8 digits>.pt` is what `torch.save` makes of

    {"format_version": 1, "iteration": 500,
     "state": {"model": the network's state dict, "optimizer": the optimizer's state dict,
               "average": the averaged network's state dict, where the recipe asks for an average,
               "loss_scale": numbers of float16's loss scaling, only where a run has one},
     "log_lengths": {"positions": bytes of positions.bin, "metrics": bytes of metrics.jsonl},
     "facts": {"recipe": the text of recipe.toml, "environment": SHA-256 of environment.json,
               "optimizer_states": how many parameters have a state in the optimizer}}

and is loaded with `weights_only=True`, after the checksums of its archive. The logs end, at those lengths, with the
records of the checkpoint's iteration; before the first training record `metrics` is 0. The facts tell that another file
of the run was changed since; imported checkpoints and those of runs that had none are without. A checkpoint with other
content is damaged like one with a flipped byte.

Version 2 is that of checkpoints with a loss scale, which a reader of version 1 cannot go on from; all others are still
written as version 1. Both are read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acu_core.durable import sync_directory, write_durably
from acu_core.errors import UserError
from acu_core.runs.regular_file import open_regular
from acu_core.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 2
"""The newest that is read."""
_NAME = re.compile(r"(\d{8,})\.pt")


@dataclass(frozen=True)
class LogLengths:
    """Bytes of the two logs at the moment of a checkpoint, each at a record's end."""

    positions: int
    metrics: int


@dataclass(frozen=True)
class RunFacts:
    """What the run's other files were when a checkpoint was saved."""

    recipe: str
    """The text of recipe.toml."""
    environment: str
    """SHA-256 of environment.json."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that loaded, its tensors on the CPU; `skipped` says of newer ones what is wrong with them.

    Its numbers are finite, its iteration is that of its name. Whether it fits a network or the logs is for those to say
    who have them.
    """

    iteration: int
    model: dict[str, Tensor]
    """State dict of the network."""
    optimizer: dict[str, Any]
    """State dict of the optimizer: "state" and "param_groups"."""
    log_lengths: LogLengths
    path: Path
    skipped: tuple[str, ...] = ()
    facts: RunFacts | None = None
    average: dict[str, Tensor] | None = None
    """State dict of the averaged network, for runs that keep an average."""
    loss_scale: dict[str, Any] | None = None
    """Of float16's loss scaling; for whoever scales to check."""


def save_checkpoint(
    run: RunDirectory,
    iteration: int,
    *,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    log_lengths: LogLengths,
    facts: RunFacts | None = None,
    average: Mapping[str, Tensor] | None = None,
    loss_scale: Mapping[str, Any] | None = None,
    keep: int = 2,
    never_delete: Collection[int] = (),
) -> Path:
    """Writes checkpoints/<iteration>.pt in one step and returns its path; the newest `keep` stay.

    Those of the iterations in `never_delete` stay too, and are not counted.

    The caller holds the run's lock and has called `sync` on the logs whose lengths it gives. The state dicts hold
    tensors, numbers, strings, None, and dicts, lists and tuples of those: a TypeError names what `weights_only=True`
    would refuse to load. Checkpoints of later iterations belong to a future that was given up (they did not load, and
    the logs have been cut): they are renamed to `<name>.set-aside`.
    """
    import torch

    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    if iteration < 0:
        raise ValueError(f"iteration must not be negative, got {iteration}")
    state: dict[str, Any] = {"model": dict(model), "optimizer": dict(optimizer)}
    if average is not None:
        state["average"] = dict(average)
    if loss_scale is not None:
        state["loss_scale"] = dict(loss_scale)
    content: dict[str, Any] = {
        "format_version": 1 if loss_scale is None else 2,
        "iteration": int(iteration),
        "state": state,
        "log_lengths": asdict(log_lengths),
    }
    if facts is not None:
        content["facts"] = {**asdict(facts), "optimizer_states": len(optimizer["state"])}
    _check_loadable(content["state"], "state")
    run.checkpoints.mkdir(exist_ok=True)
    path = run.checkpoints / f"{iteration:08d}.pt"
    if path.is_dir():
        path.rename(_set_aside(path))
    write_durably(path, lambda file: torch.save(content, file))
    found = list_checkpoints(run)
    for number, later in found:
        if number > iteration:
            later.rename(_set_aside(later))
    for _, old in [entry for entry in found if entry[0] <= iteration and entry[0] not in never_delete][keep:]:
        # What somebody has put there under such a name is not ours to delete.
        if old.is_file():
            old.unlink()
    sync_directory(run.checkpoints)
    return path


def load_latest_checkpoint(run: RunDirectory) -> Checkpoint | None:
    """The newest checkpoint that can be used; None when the run has none at all.

    Raises UserError when there are checkpoints but none can be used, and when one was written by a newer acu: starting
    from the beginning would throw away the run.
    """
    skipped: list[str] = []
    for number, path in list_checkpoints(run):
        try:
            return _load(run, number, path, tuple(skipped))
        except DamagedCheckpointError as error:
            skipped.append(str(error))
    if skipped:
        raise UserError(
            f"none of the checkpoints in {run.checkpoints} can be used ({'; '.join(skipped)}): restore one from a "
            "copy, or start a new run"
        )
    return None


def load_checkpoint(run: RunDirectory, iteration: int) -> Checkpoint:
    """The checkpoint of one iteration. Raises UserError when it is not there or cannot be used."""
    paths = dict(list_checkpoints(run))
    if iteration not in paths:
        kept = ", ".join(str(number) for number in sorted(paths)) or "none"
        raise UserError(f"{run.path} has no checkpoint of iteration {iteration}: it keeps {kept}")
    return _load(run, iteration, paths[iteration], ())


def _set_aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.set-aside")


def list_checkpoints(run: RunDirectory) -> list[tuple[int, Path]]:
    """Iterations and paths of what is called as a checkpoint is, the newest first; nothing is opened."""
    if not run.checkpoints.is_dir():
        return []
    found = []
    for path in run.checkpoints.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


class DamagedCheckpointError(UserError):
    """A checkpoint cannot be used."""


def _load(run: RunDirectory, iteration: int, path: Path, skipped: tuple[str, ...]) -> Checkpoint:
    untrained = iteration == 0 or iteration in run.imported_iterations
    try:
        content = _read(path)
        _check_content(content, iteration, untrained)
    except _NewerFormatError as error:
        raise UserError(str(error)) from error
    except UserError as error:
        raise DamagedCheckpointError(str(error)) from error
    # A damaged pickle can raise anything at all.
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedCheckpointError(f"{path} cannot be used: {text}") from error
    state, lengths = content["state"], content["log_lengths"]
    facts = content.get("facts")
    return Checkpoint(
        iteration,
        state["model"],
        state["optimizer"],
        LogLengths(**lengths),
        path,
        skipped,
        None if facts is None else RunFacts(facts["recipe"], facts["environment"]),
        state.get("average"),
        state.get("loss_scale"),
    )


class _NewerFormatError(Exception):
    """Another acu wrote the checkpoint."""


def _read(path: Path) -> dict[str, Any]:
    import torch

    with open_regular(path) as file:
        # torch.load does not check the archive's checksums.
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} does not fit")
        file.seek(0)
        content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or "format_version" not in content:
        raise ValueError("it is not a checkpoint of acu")
    if content["format_version"] not in range(1, FORMAT_VERSION + 1):
        raise _NewerFormatError(
            f"{path} has format version {content['format_version']}, this acu reads version {FORMAT_VERSION}: "
            "use the acu that wrote it"
        )
    return content


def _check_content(content: Mapping[str, Any], iteration: int, untrained: bool) -> None:
    import torch

    if type(content.get("iteration")) is not int or content["iteration"] != iteration:
        raise ValueError(f"it says that it is of iteration {str(content.get('iteration'))[:40]}")
    state, lengths = content.get("state"), content.get("log_lengths")
    if not isinstance(state, dict) or state.keys() - {"average", "loss_scale"} != {"model", "optimizer"}:
        raise ValueError("it does not hold a model and an optimizer")
    if not isinstance(lengths, dict) or lengths.keys() != {"positions", "metrics"}:
        raise ValueError("it does not say how long the logs were")
    # Never 0: positions.bin has a header.
    for name, least in (("positions", 1), ("metrics", 0 if untrained else 1)):
        if type(lengths[name]) is not int or lengths[name] < least:
            raise ValueError(f"it says that the log of {name} had {str(lengths[name])[:40]} bytes")
    for name in ("model", "average"):
        network = state.get(name, {})
        if not isinstance(network, dict) or not all(isinstance(value, torch.Tensor) for value in network.values()):
            raise ValueError(f"its {name} is not a state dict of tensors")
    optimizer = state["optimizer"]
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("state"), dict):
        raise ValueError("its optimizer is not a state dict")
    if not isinstance(optimizer.get("param_groups"), list):
        raise ValueError("its optimizer has no param_groups")
    if not isinstance(state.get("loss_scale", {}), dict):
        raise ValueError("its loss_scale is not a dictionary")
    facts = content.get("facts", {"recipe": "", "environment": "", "optimizer_states": len(optimizer["state"])})
    if not isinstance(facts, dict) or not all(isinstance(facts.get(name), str) for name in ("recipe", "environment")):
        raise ValueError("it does not say what the run's recipe and environment were")
    if facts.get("optimizer_states") != len(optimizer["state"]):
        raise ValueError("the state of some parameters is missing in its optimizer")
    broken = first_not_finite(state)
    if broken is not None:
        raise ValueError(f"its {broken} is not finite")


def first_not_finite(state: Mapping[str, Any]) -> str | None:
    """What in a checkpoint's state has numbers that are not finite, such as "optimizer state 3 exp_avg_sq"."""
    import torch

    for name, tensor in _tensors(state, ""):
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            return name
    return None


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{name} {key}".strip())
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{name} {index}")


def _check_loadable(value: Any, name: str) -> None:
    import torch

    if isinstance(value, torch.Tensor) or type(value) in (type(None), bool, int, float, str):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"{name} has the key {key!r}: only strings and integers can be loaded again")
            _check_loadable(item, f"{name}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_loadable(item, f"{name}[{index}]")
    else:
        raise TypeError(f"{name} is of {type(value).__qualname__}, which a checkpoint cannot load again")
