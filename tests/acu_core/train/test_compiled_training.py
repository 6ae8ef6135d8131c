"""A run whose network is compiled: its files are those of any run, and it goes on with the same bits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.learn import compilation
from acu_core.learn.compilation import compiler_missing
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.json_lines import read_log
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train import run_training

Content = Callable[[Path], dict[str, object]]
Tiny = Callable[..., Recipe]
pytestmark = [
    # Raised inside PyTorch's compiler by some Python versions.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(compiler_missing("cpu") is not None, reason="there is no C++ compiler"),
]


@pytest.fixture(scope="module", autouse=True)
def _nothing_else_is_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny("machine.compile=true"), path)
    return path


def losses(path: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(path / "metrics.jsonl") if "loss" in entry]


def test_it_trains_as_the_plain_run_does(whole: Path, tmp_path: Path, tiny: Tiny) -> None:
    train(tiny(), tmp_path / "plain")
    assert losses(whole) == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
    headers = [SnapshotFile(path / "positions.bin").layers for path in (whole, tmp_path / "plain")]
    assert headers[0] == headers[1]
    states = [load_latest_checkpoint(RunDirectory.open(path)) for path in (whole, tmp_path / "plain")]
    assert states[0] is not None
    assert states[1] is not None
    assert list(states[0].model) == list(states[1].model)
    assert json.loads((whole / "environment.json").read_text())["compile"] is True


def test_it_is_evaluated_as_it_will_be_from_its_checkpoint(whole: Path) -> None:
    last = [entry for entry in read_log(whole / "metrics.jsonl") if "test_loss" in entry][-1]
    found = evaluate_run(whole).evaluation
    assert (found.errors, found.loss) == (last["test_errors"], last["test_loss"])


@pytest.mark.parametrize("moment", [2, 7])
def test_stopped_and_resumed_it_has_the_same_bits(
    whole: Path,
    tmp_path: Path,
    tiny: Tiny,
    content: Content,
    recorded: Any,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    events = recorded(lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == moment else None)
    assert train(tiny("machine.compile=true"), tmp_path / "run", events=events).iteration == moment
    # As in a new process.
    torch.compiler.reset()
    later = recorded()
    assert resume(tmp_path / "run", events=later).finished
    assert not later.warnings
    assert content(tmp_path / "run") == content(whole)


def test_without_a_compiler_no_run_begins_and_one_that_has_begun_goes_on(
    whole: Path, tmp_path: Path, tiny: Tiny, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    recipe = tiny("machine.compile=true")
    events = recorded(lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == 5 else None)
    train(recipe, tmp_path / "run", events=events)
    monkeypatch.setattr(compilation, "compiler_missing", lambda device_type: "a C++ compiler, such as g++")
    with pytest.raises(UserError, match=r"machine\.compile needs a C\+\+ compiler, such as g\+\+: install it"):
        train(recipe, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    later = recorded()
    assert resume(tmp_path / "run", events=later).finished
    (warning,) = later.warnings
    assert warning.startswith("these are other conditions than those the run was trained under")
    assert warning.endswith(": compile was True, is False")
    assert losses(tmp_path / "run") == pytest.approx(losses(whole), rel=1e-3)
