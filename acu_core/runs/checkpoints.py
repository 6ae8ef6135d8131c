"""Checkpoints: everything that a run needs to go on with the same bits."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.durable import TEMPORARY_SUFFIX, sync_directory, write_durably
from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory

FORMAT_VERSION = 1
_NAME = re.compile(r"(\d{8,})\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that loaded; `skipped` are the newer ones that did not."""

    iteration: int
    state: dict[str, Any]
    log_lengths: dict[str, int]
    path: Path
    skipped: tuple[Path, ...] = ()


def save_checkpoint(
    run: RunDirectory,
    iteration: int,
    state: Mapping[str, Any],
    log_lengths: Mapping[str, int],
    keep: int = 2,
    never_delete: Collection[int] = (),
) -> Path:
    """Writes checkpoints/<iteration>.pt in one step and returns its path; the newest `keep` stay.

    Those of the iterations in `never_delete` stay too, and are not counted.

    The caller holds the run's lock and has called `sync` on the logs whose lengths it gives. `state` holds tensors,
    numbers, strings, None, and dicts, lists and tuples of those: a TypeError names what `weights_only=True` would
    refuse to load. Checkpoints of later iterations belong to a future that was given up (they did not load, and the
    logs have been cut): they are renamed to `<name>.set-aside`.
    """
    import torch

    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    if iteration < 0:
        raise ValueError(f"iteration must not be negative, got {iteration}")
    content = {
        "format_version": FORMAT_VERSION,
        "iteration": int(iteration),
        "state": dict(state),
        "log_lengths": {str(name): int(length) for name, length in log_lengths.items()},
    }
    _check_loadable(content["state"], "state")
    run.checkpoints.mkdir(exist_ok=True)
    path = write_durably(run.checkpoints / f"{iteration:08d}.pt", lambda file: torch.save(content, file))
    for leftover in run.checkpoints.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)
    found = _list_checkpoints(run)
    for number, later in found:
        if number > iteration:
            later.rename(later.with_name(f"{later.name}.set-aside"))
    for _, old in [entry for entry in found if entry[0] <= iteration and entry[0] not in never_delete][keep:]:
        old.unlink(missing_ok=True)
    sync_directory(run.checkpoints)
    return path


def load_latest_checkpoint(run: RunDirectory) -> Checkpoint | None:
    """The newest checkpoint that is whole, its tensors on the CPU; None when the run has none at all.

    Raises UserError when there are checkpoints but none is whole, and when one was written by a newer acu: starting
    from the beginning would throw away the run.
    """
    skipped: list[Path] = []
    reasons: list[str] = []
    for _, path in _list_checkpoints(run):
        try:
            content = _load(path)
        except UserError:
            raise
        # A damaged pickle can raise anything at all.
        except Exception as error:
            skipped.append(path)
            reasons.append(f"{path.name}: {_reason(error)}")
            continue
        return Checkpoint(content["iteration"], content["state"], content["log_lengths"], path, tuple(skipped))
    if skipped:
        raise UserError(
            f"none of the checkpoints in {run.checkpoints} can be loaded ({'; '.join(reasons)}): restore one from a "
            "copy, or start a new run"
        )
    return None


def load_checkpoint(run: RunDirectory, iteration: int) -> Checkpoint:
    """The checkpoint of one iteration, its tensors on the CPU. Raises UserError when it is not there or not whole."""
    paths = dict(_list_checkpoints(run))
    if iteration not in paths:
        kept = ", ".join(str(number) for number in sorted(paths)) or "none"
        raise UserError(f"{run.path} has no checkpoint of iteration {iteration}: it keeps {kept}")
    path = paths[iteration]
    try:
        content = _load(path)
    except UserError:
        raise
    # A damaged pickle can raise anything at all.
    except Exception as error:
        raise UserError(f"{path} cannot be loaded ({_reason(error)}): choose another iteration") from error
    return Checkpoint(content["iteration"], content["state"], content["log_lengths"], path)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _list_checkpoints(run: RunDirectory) -> list[tuple[int, Path]]:
    if not run.checkpoints.is_dir():
        return []
    found = []
    for path in run.checkpoints.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


def _load(path: Path) -> dict[str, Any]:
    import torch

    # torch.load does not check the archive's checksums.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} does not fit")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or "format_version" not in content:
        raise ValueError("it is not a checkpoint of acu")
    if content["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {content['format_version']}, this acu reads version {FORMAT_VERSION}: "
            "use the acu that wrote it"
        )
    for key, kind in (("iteration", int), ("state", dict), ("log_lengths", dict)):
        if not isinstance(content.get(key), kind):
            raise ValueError(f"it has no {key}")
    return content


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
