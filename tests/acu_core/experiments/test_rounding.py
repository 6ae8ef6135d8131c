from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from acu_core.errors import UserError
from acu_core.experiments import rounded_start
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.rounding import round_and_finetune
from acu_core.experiments.shape_recovery import shape_recovery
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.recipe.recipe_file import parse_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    # A large step, so that rounding changes the network.
    path = tmp_path_factory.mktemp("runs") / "parent"
    train(tiny("optimizer.position_learning_rate_factor=2.0"), path)
    return path


def hashes(path: Path) -> dict[str, str]:
    files = [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_shared_cells() -> None:
    positions = torch.tensor([[[0.0, 0.0], [-0.0, 0.0], [1.0, -2.0]], [[1.0, 1.0], [1.0, 2.0], [1.0, 1.0]]])
    assert rounded_start.shared_cells(positions) == [
        {"group": 0, "cell": [0, 0], "synapses": [0, 1]},
        {"group": 1, "cell": [1, 1], "synapses": [0, 2]},
    ]
    assert rounded_start.shared_cells(positions[:, 2:]) == []


def test_a_rounded_run_is_its_own_and_names_its_parent(parent: Path, tmp_path: Path) -> None:
    before = hashes(parent)
    report = round_and_finetune(parent, tmp_path / "child")
    assert hashes(parent) == before, "the parent is left as it is"
    assert report.iteration == 6
    run = RunDirectory.open(tmp_path / "child")
    recipe = parse_recipe(run.recipe_toml, "child")
    assert recipe.parent is not None
    assert (recipe.parent.run, recipe.parent.iteration) == (str(parent), 12)
    assert recipe.schedule.divisions == [3]
    assert recipe.optimizer.freeze_positions
    assert recipe.optimizer.learning_rate == 0.01
    snapshots = SnapshotFile(run.positions)
    positions = np.asarray(snapshots.positions(snapshots.layers[0].name))
    last = SnapshotFile(parent / "positions.bin")
    learned = np.asarray(last.positions(last.layers[0].name))[-1]
    assert positions.shape[0] == 7
    assert (positions == np.round(learned)).all()
    assert not np.array_equal(learned, np.round(learned))


def test_the_three_errors(parent: Path, tmp_path: Path) -> None:
    report = round_and_finetune(parent, tmp_path / "child", iterations=2)
    assert report.rounding is not None
    assert report.rounding.before == evaluate_run(parent).evaluation
    assert report.evaluation == evaluate_run(tmp_path / "child").evaluation
    child = tmp_path / "child"
    assert report.rounding.after != report.rounding.before
    # Interrupted or extended, it is a run like any other, and still knows its figures.
    again = resume(child, ["schedule.iterations=3"])
    assert again.rounding == report.rounding
    assert again.iteration == 3


def test_killed_before_its_first_checkpoint_it_starts_from_the_parent_again(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Callable[[Path], dict[str, object]]
) -> None:
    whole = round_and_finetune(parent, tmp_path / "whole")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("acu_core.train.run_training.save_checkpoint", fail)
        with pytest.raises(KeyboardInterrupt):
            round_and_finetune(parent, tmp_path / "child")
    report = resume(tmp_path / "child")
    assert report.rounding == whole.rounding
    assert content(tmp_path / "child") == content(tmp_path / "whole")


def test_a_parent_that_cannot_be_written_is_rounded_elsewhere(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def read_only(path: Path, flags: int, *more: object, **options: object) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT) and str(path).startswith(str(parent)):
            raise OSError(errno.EROFS, "Read-only file system")
        return open_file(path, flags, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    assert round_and_finetune(parent, tmp_path / "child", iterations=1).iteration == 1


def test_a_changed_parent_is_noticed(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> None:
    train(tiny("schedule.iterations=2"), tmp_path / "parent")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("acu_core.train.run_training.save_checkpoint", fail)
        with pytest.raises(KeyboardInterrupt):
            round_and_finetune(tmp_path / "parent", tmp_path / "child")
    resume(tmp_path / "parent", ["schedule.iterations=4"])
    with pytest.raises(UserError, match="was changed since"):
        resume(tmp_path / "child")


def test_what_cannot_be_rounded(tmp_path: Path, tiny: Tiny) -> None:
    train(tiny("network.unit=convolution", "schedule.iterations=1"), tmp_path / "base")
    assert evaluate_run(tmp_path / "base").operator is None
    with pytest.raises(UserError, match="no positions to round"):
        round_and_finetune(tmp_path / "base")
    with pytest.raises(UserError, match="there is no run"):
        round_and_finetune(tmp_path / "nothing")
    with pytest.raises(UserError, match="there is no run"):
        evaluate_run(tmp_path / "nothing")


def test_shape_recovery() -> None:
    hidden = torch.zeros(1, 9, 2)
    learned = hidden.clone()
    learned[0, :, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4, 9.0, 0.5, 0.6, 0.7, 0.8])
    found = shape_recovery(learned, hidden)
    assert found.median_distance == pytest.approx(0.45)
    assert found.largest_distance == pytest.approx(0.8)
    assert (found.near, found.synapses) == (5, 8)


def test_a_recipe_that_needs_a_finished_run_is_not_trained_alone(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny("name=rounded", "start={recipe='tiny'}")
    with pytest.raises(UserError, match="goes on from a finished run of tiny, rounded: it cannot be trained alone"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_whole_recipe_instead_of_the_parents_table(parent: Path, tiny: Tiny, tmp_path: Path) -> None:
    overrides = ["name=rounded", "start={recipe='tiny'}", "schedule.iterations=4", "schedule.divisions=[]"]
    overrides += ["optimizer.freeze_positions=true", "optimizer.learning_rate=0.02"]
    report = round_and_finetune(parent, tmp_path / "child", recipe=tiny(*overrides))
    assert (report.recipe, report.iteration) == ("rounded", 4)
    recipe = parse_recipe(RunDirectory.open(tmp_path / "child").recipe_toml, "child")
    assert recipe.start is None
    assert recipe.parent is not None
    assert recipe.optimizer.learning_rate == 0.02
    for override, message in (
        ("seed=1", "rounded is of another network or seed than the run"),
        ("start={recipe='huge'}", "rounded goes on from a run of huge, but .*parent is one of tiny"),
        (
            "data={name='cifar10', batch_size=16}",
            "rounded is of other data .cifar10. than the run .*parent .planted,",
        ),
        (
            "data.validation_images=9",
            "rounded is of other data .*test_count = 50, validation_images = 9. than the run .*test_count = 50.$",
        ),
        ("data.options.train_count=100", "rounded is of other data .planted, train_count = 100, test_count = 50. than"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            round_and_finetune(parent, tmp_path / "other", recipe=tiny(*overrides, override))
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"tiny has no table \[start\]"):
        round_and_finetune(parent, tmp_path / "other", recipe=tiny())
    assert not (tmp_path / "other").exists()


def statistics(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_latest_checkpoint(RunDirectory.open(path))
    assert checkpoint is not None
    return {name: value for name, value in checkpoint.model.items() if "running_" in name}


def test_the_parents_statistics_are_averaged_on(parent: Path, tmp_path: Path, tiny: Tiny) -> None:
    round_and_finetune(parent, tmp_path / "child", iterations=1)
    before, after = statistics(parent), statistics(tmp_path / "child")
    fraction = tiny().network.batch_norm_fraction
    assert fraction == 0.01
    for name, value in before.items():
        # One batch counts for a hundredth: anew, it would have replaced them whole.
        assert (after[name] - value).norm() < 0.1 * value.norm(), name
        assert not torch.equal(after[name], value)
    text = (tmp_path / "child" / "recipe.toml").read_text()
    assert "continue_statistics = true" in text
    # A run that was begun when they were not averaged on goes on as it began.
    old = parse_recipe(text.replace("continue_statistics = true", ""), "old")
    assert old.parent is not None
    assert not old.parent.continue_statistics
