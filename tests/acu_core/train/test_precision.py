"""Runs in 16 bits: stopped, killed and resumed to the same bits on the CPU, and what is recorded of them."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.rounding import round_and_finetune
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.learn.loss_scaling import LossScaling
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import list_checkpoints, load_checkpoint, load_latest_checkpoint
from acu_core.runs.json_lines import read_log
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train import run_training
from acu_core.train.recorder import DivergedError

Content = Callable[[Path], dict[str, object]]
Tiny = Callable[..., Recipe]
# So that the scale changes within these few iterations: it doubles after so many.
GROWTH = 3


@pytest.fixture(autouse=True)
def _the_scale_changes_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: real(device, enabled=enabled, growth_interval=GROWTH)
    )


def scales(path: Path) -> dict[int, float | None]:
    run = RunDirectory.open(path)
    found = {number: load_checkpoint(run, number).loss_scale for number, _ in list_checkpoints(run)}
    return {number: None if scale is None else scale["scale"] for number, scale in found.items()}


def stopped(recipe: Recipe, path: Path, moment: int, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """The iteration at which a run was stopped that was asked to at `moment`."""
    monkeypatch.setattr(run_training, "BLOCK", 1)
    events = recorded(lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == moment else None)
    return train(recipe, path, events=events).iteration


@pytest.mark.parametrize("stop_at", [2, 7])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_stopped_and_resumed_it_has_the_same_bits(
    tmp_path: Path,
    tiny: Tiny,
    content: Content,
    recorded: Any,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    stop_at: int,
) -> None:
    recipe = tiny(f"machine.precision={precision}", "optimizer.gradient_clip=1.0")
    train(recipe, tmp_path / "whole")
    assert stopped(recipe, tmp_path / "cut", stop_at, recorded, monkeypatch) == stop_at
    events = recorded()
    resume(tmp_path / "cut", events=events)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert not events.warnings
    last, other = (load_latest_checkpoint(RunDirectory.open(tmp_path / name)) for name in ("whole", "cut"))
    assert last is not None
    assert other is not None
    assert last.loss_scale == other.loss_scale
    assert (last.loss_scale is not None) == (precision == "float16")


def test_the_precision_is_in_the_bits(tmp_path: Path, tiny: Tiny) -> None:
    metrics = []
    for precision in ("float32", "tf32", "bfloat16", "float16"):
        train(tiny(f"machine.precision={precision}"), tmp_path / precision)
        metrics.append((tmp_path / precision / "metrics.jsonl").read_bytes())
    # There is no TF32 on a CPU.
    assert metrics[0] == metrics[1]
    assert len(set(metrics)) == 3


def test_the_environment_says_what_was_really_computed_with(tmp_path: Path, tiny: Tiny, recorded: Any) -> None:
    for precision in ("float32", "tf32", "bfloat16"):
        events = recorded()
        train(tiny(f"machine.precision={precision}"), tmp_path / precision, events=events)
        environment = json.loads((tmp_path / precision / "environment.json").read_text())
        assert environment["precision"] == ("float32" if precision == "tf32" else precision)
        assert environment["arithmetic"] == {
            "convolutions": "ieee",
            "products": "ieee",
            "reduced_precision_sums": False,
            "evaluation": "float32",
        }
        assert environment["compile"] is False
        told = [text for text in events.warnings if "tf32" in text]
        assert bool(told) == (precision == "tf32")


def test_a_run_of_before_there_were_precisions_goes_on_without_a_word(
    tmp_path: Path, tiny: Tiny, content: Content, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny(), tmp_path / "whole")
    run = tmp_path / "run"
    assert stopped(tiny(), run, 7, recorded, monkeypatch) == 7
    environment = json.loads((run / "environment.json").read_text())
    assert environment.pop("precision") == "float32"
    assert environment.pop("arithmetic")
    text = json.dumps(environment)
    (run / "environment.json").write_text(text)
    recipe = (run / "recipe.toml").read_text().replace('precision = "float32"\n', "").replace("compile = false\n", "")
    (run / "recipe.toml").write_text(recipe)
    events = recorded()
    resume(run, events=events)
    # That the file was changed is said, and nothing of a precision.
    assert not any("precision" in warning or "arithmetic" in warning for warning in events.warnings)
    found, whole = content(run), content(tmp_path / "whole")
    assert {**found, "recipe": None} == {**whole, "recipe": None}


def test_another_precision_than_recorded_is_said(tmp_path: Path, tiny: Tiny, recorded: Any) -> None:
    train(tiny("schedule={iterations=1}"), tmp_path / "run")
    file = tmp_path / "run" / "environment.json"
    environment = json.loads(file.read_text())
    environment["precision"] = "tf32"
    environment["arithmetic"] |= {"convolutions": "tf32", "products": "tf32"}
    file.write_text(json.dumps(environment))
    events = recorded()
    evaluate_run(tmp_path / "run", events=events)
    (warning,) = events.warnings
    assert "precision was tf32, is float32" in warning
    assert "arithmetic convolutions was tf32, is ieee" in warning


def test_checkpoints_without_a_scale_are_those_that_earlier_versions_read(tmp_path: Path, tiny: Tiny) -> None:
    for precision, version in (("float32", 1), ("bfloat16", 1), ("float16", 2)):
        train(tiny(f"machine.precision={precision}"), tmp_path / precision)
        for _, path in list_checkpoints(RunDirectory.open(tmp_path / precision)):
            content = torch.load(path, weights_only=True)
            assert content["format_version"] == version
            assert ("loss_scale" in content["state"]) == (version == 2)


def test_a_scale_that_is_missing_or_damaged_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    run = tmp_path / "run"
    train(tiny("machine.precision=float16"), run)
    assert scales(run)[12] not in (None, 65536.0)
    (newest, *_) = list_checkpoints(RunDirectory.open(run))
    whole = torch.load(newest[1], weights_only=True)
    for change, told in (
        (None, "has no loss scale, which float16 needs"),
        ({**whole["state"]["loss_scale"], "scale": -1.0}, "its loss scale has -1.0 as scale"),
    ):
        state = {key: value for key, value in whole["state"].items() if key != "loss_scale"}
        if change is not None:
            state["loss_scale"] = change
        torch.save({**whole, "state": state}, newest[1])
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        with pytest.raises(UserError, match=told):
            resume(run, ["schedule.iterations=13"])
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_network_whose_gradients_never_are_finite_has_diverged(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScaling, "exhausted", property(lambda self: True))
    with pytest.raises(DivergedError, match="no gradient is finite in float16 at iteration 0"):
        train(tiny("machine.precision=float16"), tmp_path / "run")


def test_steps_that_are_left_out_are_recorded_as_shapes_that_stay(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    unscale = LossScaling.unscale
    steps = 0

    def overflowing(self: LossScaling, optimizer: torch.optim.Optimizer) -> None:
        nonlocal steps
        steps += 1
        # One for the rehearsal.
        if steps - 1 in (6, 7):
            optimizer.param_groups[0]["params"][0].grad.fill_(math.inf)
        unscale(self, optimizer)

    monkeypatch.setattr(LossScaling, "unscale", overflowing)
    train(tiny("machine.precision=float16"), tmp_path / "run")
    snapshots = SnapshotFile(tmp_path / "run" / "positions.bin")
    positions = snapshots.positions(snapshots.layers[0].name)
    same = [bool((positions[number] == positions[number - 1]).all()) for number in range(1, 13)]
    assert [number for number, equal in enumerate(same, start=1) if equal] == [1, 2, 3, 6, 7]
    trained = [entry for entry in read_log(tmp_path / "run" / "metrics.jsonl") if "loss" in entry]
    assert [entry["iteration"] for entry in trained] == list(range(1, 13))
    assert all(entry["position_learning_rate"] > 0 for entry in trained[3:])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_is_rounded_and_evaluated_in_any_precision(tmp_path: Path, tiny: Tiny, precision: str) -> None:
    train(tiny(f"machine.precision={precision}"), tmp_path / "run")
    report = round_and_finetune(tmp_path / "run", tmp_path / "rounded")
    assert report.finished
    last = [entry for entry in read_log(tmp_path / "run" / "metrics.jsonl") if "test_loss" in entry][-1]
    evaluation = evaluate_run(tmp_path / "run").evaluation
    assert (evaluation.errors, evaluation.loss) == (last["test_errors"], last["test_loss"])
