"""A plan's figures of the disk beside a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from acu_core.experiments.frozen_twin import FROZEN, train
from acu_core.forecast.disk import kept
from acu_core.forecast.plan import plan_training
from acu_core.forecast.step_clock import Patience
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import list_checkpoints
from acu_core.runs.run_directory import RunDirectory

FEW = Patience(seconds=0, least=1, most=1, skipped=1)


def size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    "overrides",
    [
        ("compare_frozen=true", "schedule.iterations=30"),
        ('network.unit="convolution"', "schedule.iterations=300", "schedule.divisions=[70]"),
        ("schedule.iterations=1", "schedule.evaluate_every=0"),
        ("schedule.keep=[2, 4, 7]", "average={decay=0.9}", "data.validation_images=20"),
        ("schedule.keep=[0, 3]", "schedule.keep_best=true", "data.validation_images=20", "compare_frozen=true"),
        ("average={decay=0.5}", 'paper={measure="top-5 accuracy %", result=50}', "schedule.evaluate_every=2"),
    ],
)
def test_the_disk_is_as_full_as_it_will_be(
    tiny: Callable[..., Recipe], tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    recipe = tiny(*overrides)
    disk = plan_training(recipe, patience=FEW).disk
    run = tmp_path / "run"
    train(recipe, run)
    there = {iteration for iteration, _ in list_checkpoints(RunDirectory.open(run))}
    # Which one is the best is not known before.
    assert len(kept(recipe)) == len(there)
    if not recipe.schedule.keep_best:
        assert kept(recipe) == there
    parts = [part for part in (run, run / FROZEN) if part.exists()]
    assert len(parts) == 1 + recipe.compare_frozen
    assert disk.positions == sum(size(part / "positions.bin") for part in parts)
    for planned, name, tolerance in (
        (disk.checkpoints, "checkpoints", 0.05),
        (disk.metrics, "metrics.jsonl", 0.06),
        (disk.timings, "timings.jsonl", 0.06),
    ):
        assert planned == pytest.approx(sum(size(part / name) for part in parts), rel=tolerance), name
    assert disk.total == pytest.approx(size(run), rel=0.05)
