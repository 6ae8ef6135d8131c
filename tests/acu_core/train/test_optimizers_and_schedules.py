"""Runs with each optimizer and schedule: stopped anywhere, they go on to the same bits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.rounding import finetuning_recipe, round_and_finetune
from acu_core.learn.network import recipe_network
from acu_core.learn.optimizer import new_optimizer
from acu_core.learn.step import StepFigures, TrainingStep
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import list_checkpoints, load_latest_checkpoint
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train import run_training
from acu_core.train.recorder import DivergedError

Content = Callable[[Path], dict[str, object]]
Tiny = Callable[..., Recipe]

ADAMW = "optimizer={name='adamw', learning_rate=0.01, weight_decay=0.1, position_learning_rate=0.02}"
NESTEROV = "optimizer={learning_rate=0.1, nesterov=true, weight_decay=0.001}"
COSINE = (
    "schedule={name='cosine', iterations=12, warm_up=3, linear_start=4, evaluate_every=4, checkpoint_every=5}",
    "average={decay=0.9}",
    "data.validation_images=20",
)
KINDS = {
    "adamw in steps": (ADAMW,),
    "nesterov in steps": (NESTEROV,),
    "adamw along a cosine": (ADAMW, *COSINE),
    "sgd along a cosine": COSINE,
}


def averages(path: Path) -> Any:
    checkpoint = load_latest_checkpoint(RunDirectory.open(path))
    assert checkpoint is not None
    if checkpoint.average is None:
        return None
    return {name: value.numpy().tobytes() for name, value in checkpoint.average.items()}


def stop_at(iteration: int) -> Callable[[int], None]:
    def on_advance(done: int) -> None:
        if done == iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_advance


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_goes_on_to_the_same_bits(
    kind: str, tiny: Tiny, tmp_path: Path, content: Content, recorded: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    recipe = tiny(*KINDS[kind])
    assert train(recipe, tmp_path / "whole").finished
    # In the linear start, in the warm-up, at an evaluation, at a checkpoint, late.
    for at in (2, 4, 5, 11):
        path = tmp_path / f"stopped-{at}"
        train(
            recipe,
            path,
            events=recorded(stop_at(at)),
        )
        assert resume(path).finished
        assert content(path) == content(tmp_path / "whole")
        assert averages(path) == averages(tmp_path / "whole")
    assert (averages(tmp_path / "whole") is not None) == ("cosine" in kind)


def test_the_recorded_rates_are_the_schedules(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(ADAMW, *COSINE)
    train(recipe, tmp_path / "run")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl").training
    assert [record.learning_rate for record in records] == [recipe.schedule.rate(0.01, i) for i in range(1, 13)]
    expected = [0.0] * 3 + [recipe.schedule.rate(0.02, i) for i in range(4, 13)]
    assert [record.position_learning_rate for record in records] == expected
    assert records[0].learning_rate == 0.01 / 4
    snapshots = SnapshotFile(tmp_path / "run" / "positions.bin")
    positions = snapshots.positions(snapshots.layers[0].name)
    assert (positions[3] == positions[0]).all()
    assert (positions[4] != positions[3]).any()


def test_a_cosine_that_has_begun_cannot_be_made_longer(
    tiny: Tiny, tmp_path: Path, content: Content, recorded: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    recipe = tiny(*COSINE)
    train(recipe, tmp_path / "run")
    before = content(tmp_path / "run")
    with pytest.raises(UserError, match=r"12 iterations of a cosine schedule that ends at 12: .* any more"):
        resume(tmp_path / "run", ["schedule.iterations=16"])
    with pytest.raises(UserError, match=r"schedule\.divisions: is of steps, not of cosine"):
        resume(tmp_path / "run", ["schedule.divisions=[3]"])
    assert content(tmp_path / "run") == before
    # In the linear start no rate was decided by the end.
    train(
        recipe,
        tmp_path / "early",
        events=recorded(stop_at(4)),
    )
    resume(tmp_path / "early", ["schedule.iterations=16"])
    train(recipe.changed(schedule={"iterations": 16}), tmp_path / "longer")
    assert content(tmp_path / "early") == content(tmp_path / "longer")


def test_a_checkpoint_of_another_optimizer_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(ADAMW), tmp_path / "run")
    for _, file in list_checkpoints(RunDirectory.open(tmp_path / "run")):
        content = torch.load(file, weights_only=True)
        content["state"]["optimizer"]["param_groups"][-1]["momentum"] = 0.5
        torch.save(content, file)
    with pytest.raises(UserError, match=r"its optimizer: momentum is 0\.5, by the recipe it is 0\.9"):
        resume(tmp_path / "run", ["schedule.iterations=16"])


@pytest.mark.parametrize("has_table", [True, False])
def test_a_run_along_a_cosine_is_rounded_and_finetuned_in_steps(tiny: Tiny, tmp_path: Path, has_table: bool) -> None:
    recipe = tiny(ADAMW, *COSINE, "schedule.keep=[2, 9]")
    if not has_table:
        recipe = recipe.changed(round_and_finetune=None)
    train(recipe, tmp_path / "run")
    report = round_and_finetune(tmp_path / "run", tmp_path / "rounded", iterations=6)
    assert report.finished
    assert report.averaged is not None
    records = read_metrics(tmp_path / "rounded" / "metrics.jsonl").training
    rates = [0.01] * 3 + [0.001] * 3 if has_table else [0.0001] * 6
    assert [record.learning_rate for record in records] == pytest.approx(rates, rel=1e-12)
    assert {record.position_learning_rate for record in records} == {0.0}
    assert 2 in {number for number, _ in list_checkpoints(RunDirectory.open(tmp_path / "rounded"))}
    child = finetuning_recipe(recipe, 6)
    assert (child.schedule.name, child.schedule.warm_up, child.schedule.keep) == ("steps", 0, [2])
    assert child.optimizer.name == "adamw"


def test_the_frozen_twin_is_trained_along_the_same_schedule(tiny: Tiny, tmp_path: Path) -> None:
    report = train(tiny(ADAMW, *COSINE, "compare_frozen=true"), tmp_path / "run")
    assert report.frozen is not None
    rates = [
        [record.learning_rate for record in read_metrics(path / "metrics.jsonl").training]
        for path in (tmp_path / "run", tmp_path / "run" / "frozen")
    ]
    assert rates[0] == rates[1]


def test_the_data_of_another_seed_hold_other_images_out(tiny: Tiny, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tiny("data.validation_images=20", f"seed={seed}"), tmp_path / str(seed))
    found = [json.loads((tmp_path / str(seed) / "environment.json").read_text()) for seed in (0, 1)]
    assert found[0]["data"]["fingerprint"]["validation"] != found[1]["data"]["fingerprint"]["validation"]


def test_a_network_of_ordinary_convolutions_needs_no_rate_of_positions(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny("optimizer={name='adamw', learning_rate=0.01}", "network.unit=convolution")
    assert train(recipe, tmp_path / "run").finished
    assert type(new_optimizer(recipe_network(recipe, 2, 8, pretrained=False), recipe)) is torch.optim.AdamW


def test_a_checkpoint_that_could_not_be_gone_on_from_is_not_written(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingStep.__call__

    def overflowing(self: TrainingStep, iteration: int, *batch: torch.Tensor) -> StepFigures:
        figures = step(self, iteration, *batch)
        if iteration == 7:
            # As the square of a gradient of 1e20: the weights stay finite, and never move again.
            next(iter(self.optimizer.state.values()))["exp_avg_sq"].fill_(torch.inf)
        return figures

    monkeypatch.setattr(TrainingStep, "__call__", overflowing)
    with pytest.raises(DivergedError, match=r"^optimizer state 0 exp_avg_sq is not finite after .* of iteration 5, in"):
        train(tiny(ADAMW), tmp_path / "run")
    checkpoint = load_latest_checkpoint(RunDirectory.open(tmp_path / "run"))
    assert checkpoint is not None
    assert (checkpoint.iteration, checkpoint.skipped) == (5, ())
