"""What a list of runs says of each: read from the ends of its files, so that a thousand take less than a second."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from acu_cli.watch.run_plan import RunPlan
from acu_core.errors import UserError
from acu_core.runs.log_end import LogEnd, read_log_end
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_follower import SnapshotFollower

DAMAGED = "damaged"
"""The condition of a run that cannot be read."""
_ERRORS, _IMAGES = "test_errors", "test_images"


@dataclass(frozen=True)
class RunStanding:
    """Errors in percent, times in seconds since 1970; `condition` is one of `Condition`, or damaged."""

    path: Path
    recipe: str
    condition: str
    iteration: int
    iterations: int
    test_error: float | None
    test_error_iteration: int | None
    written: float
    bytes: int
    problem: str | None = None

    @classmethod
    def of(cls, path: Path) -> RunStanding:
        """That of the run at `path`; whatever is wrong with it is its `problem`."""
        size, written = _disk(path)
        run = RunDirectory(path)
        is_locked = run.is_locked
        try:
            plan = RunPlan.read(run)
        except UserError as error:
            return cls(path, "", DAMAGED, 0, 0, None, None, written, size, str(error))
        end = read_log_end(run.metrics, _ERRORS)
        snapshots = SnapshotFollower(run.positions)
        snapshots.poll()
        problem = end.damage or snapshots.damage
        iteration = _whole(end.last, "iteration") or snapshots.last_iteration
        evaluated, error_rate = _evaluation(end)
        twin_evaluated = None
        if plan.has_twin and plan.is_done(evaluated):
            twin = read_log_end(path / "frozen" / "metrics.jsonl", _ERRORS)
            problem = problem or twin.damage
            twin_evaluated, _ = _evaluation(twin)
        condition = plan.condition(
            iteration=iteration, is_locked=is_locked, evaluated=evaluated, twin_evaluated=twin_evaluated
        )
        return cls(
            path,
            plan.recipe,
            DAMAGED if problem else condition.value,
            iteration,
            plan.iterations,
            error_rate,
            evaluated,
            written,
            size,
            problem,
        )


def find_runs(folder: Path) -> list[Path]:
    """The runs in a folder, or the folder itself where it is one; in the order of their names, numbers as numbers.

    Raises UserError where there is no folder.
    """
    if not folder.is_dir():
        raise UserError(f"there is no directory {folder}")
    if (folder / "recipe.toml").is_file():
        return [folder]
    found = [
        Path(entry.path) for entry in os.scandir(folder) if os.path.isfile(os.path.join(entry.path, "recipe.toml"))
    ]
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[tuple[str, int], ...]:
    name, _, number = path.name.rpartition("-")
    return ((name, int(number)),) if number.isdecimal() else ((path.name, -1),)


def _evaluation(end: LogEnd) -> tuple[int | None, float | None]:
    entry = end.last_with_key
    images, errors = _whole(entry, _IMAGES), _whole(entry, _ERRORS)
    if entry is None or not images:
        return None, None
    return _whole(entry, "iteration"), 100.0 * errors / images


def _whole(entry: dict[str, object] | None, key: str) -> int:
    value = 0 if entry is None else entry.get(key)
    return value if type(value) is int and value >= 0 else 0


def _disk(path: Path) -> tuple[int, float]:
    """Bytes of all files, and when one of them was last written."""
    size, written = 0, 0.0
    folders = [os.fspath(path)]
    while folders:
        with suppress(OSError):
            for entry in os.scandir(folders.pop()):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    size += status.st_size
                    if entry.name != ".lock":
                        written = max(written, status.st_mtime)
    return size, written
