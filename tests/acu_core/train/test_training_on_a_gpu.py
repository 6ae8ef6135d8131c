"""Trainings on a GPU: with and without a captured graph, stopped and resumed, with the kernels that were recorded."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpu import needs_gpu

from acu_core.experiments.frozen_twin import resume, train
from acu_core.op.cuda_kernels import KERNELS
from acu_core.recipe.schema import Recipe
from acu_core.runs.json_lines import read_log
from acu_core.train import run_training

pytestmark = needs_gpu
Content = Callable[[Path], dict[str, object]]
Tiny = Callable[..., Recipe]
GPU = "machine.device=cuda"
GRAPH = "machine.cuda_graph=true"


def losses(path: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(path / "metrics.jsonl") if "loss" in entry]


def choices(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((path / "environment.json").read_text())["operator"]["cuda_choices"]
    return found


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_a_graph_changes_no_result(
    tiny: Tiny, tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch, precision: str, schedule: str
) -> None:
    # Two fresh runs: what they are computed with must not be left to a clock.
    monkeypatch.setenv("ACU_CUDA_KERNELS", "columns")
    monkeypatch.setattr("acu_core.train.kernel_record.wanted_cuda_kernels", lambda: "columns")
    changes = [GPU, f"machine.precision={precision}", "schedule.iterations=30", "schedule.divisions=[15, 25]"]
    if schedule == "cosine":
        changes[2:] = ['schedule={name="cosine", iterations=30, warm_up=3}']
    # A capture that fails would be a warning, which is an error here.
    train(tiny(*changes, GRAPH), tmp_path / "graph")
    train(tiny(*changes), tmp_path / "plain")
    found, expected = content(tmp_path / "graph"), content(tmp_path / "plain")
    assert found.pop("recipe") != expected.pop("recipe")
    assert found == expected
    environment = json.loads((tmp_path / "graph" / "environment.json").read_text())
    assert (environment["cuda_graph"], environment["operator"]["cuda_kernels"]) == (True, "columns")


@pytest.mark.parametrize("graph", [True, False])
def test_stopped_and_resumed_it_takes_the_recorded_kernels_and_has_the_same_bits(
    tiny: Tiny, tmp_path: Path, content: Content, recorded: Any, monkeypatch: pytest.MonkeyPatch, graph: bool
) -> None:
    # Of its layers all but the first have enough channels for the fused kernels.
    network = 'network={name="plain", unit="acu", options={width=0.25}}'
    recipe = tiny(GPU, "machine.precision=bfloat16", network, *([GRAPH] if graph else []))
    train(recipe, tmp_path / "whole")
    decided = choices(tmp_path / "whole")
    assert decided
    # Another fresh run might choose otherwise, so this one is given the same to begin with.
    monkeypatch.setattr("acu_core.train.environment.begin_kernels", lambda: KERNELS.resume("auto", decided))
    monkeypatch.setattr(run_training, "BLOCK", 1)
    events = recorded(lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == 7 else None)
    assert train(recipe, tmp_path / "run", events=events).iteration == 7
    KERNELS.resume("auto", {})
    later = recorded()
    assert resume(tmp_path / "run", events=later).finished
    assert later.warnings == []
    assert choices(tmp_path / "run") == decided
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_it_learns_what_the_cpu_learns(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "cpu")
    train(tiny(GPU), tmp_path / "gpu")
    assert losses(tmp_path / "gpu") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-2)
