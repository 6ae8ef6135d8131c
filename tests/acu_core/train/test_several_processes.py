"""One run by two and by three processes on the CPU, beside one: each group is started once, and does many things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joined_training import join

from acu_core.experiments import frozen_twin
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

# 17 images are 8 and 9 of two processes, 5, 6 and 6 of three. BatchNorm is in the network.
LONG = ("data.batch_size=17", "schedule.iterations=30", "schedule.warm_up=5", "schedule.divisions=[20]")
TEST = ("data.options={train_count=200, test_count=110}", "data.evaluation_batch_size=20", "schedule.evaluate_every=10")

Tiny = Callable[..., Recipe]
Content = Callable[[Path], dict[str, object]]


def written(recipe: Recipe, path: Path) -> Path:
    path.write_text(recipe_toml(recipe))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def one(folder: Path, tiny: Tiny) -> Path:
    frozen_twin.train(tiny(*LONG, *TEST), folder / "one")
    return folder / "one"


@pytest.fixture(scope="module")
def three(folder: Path, tiny: Tiny) -> list[list[dict[str, Any]]]:
    recipe = written(tiny(*LONG, *TEST), folder / "three.toml")
    jobs = [
        ["train", recipe, folder / "three"],
        ["stop", recipe, folder / "three stopped", 13, 2],
        ["resume", folder / "three stopped"],
    ]
    return join(3, jobs)


@pytest.fixture(scope="module")
def two(folder: Path, tiny: Tiny) -> list[list[dict[str, Any]]]:
    recipe = written(tiny(*LONG, *TEST), folder / "two.toml")
    own = written(tiny(*LONG, *TEST, 'network.batch_norm="per_process"'), folder / "own.toml")
    twin = written(tiny("compare_frozen=true"), folder / "twin.toml")
    jobs = [
        ["train", recipe, folder / "two"],
        ["train", recipe, folder / "again"],
        ["stop", recipe, folder / "stopped", 13, 1],
        ["resume", folder / "stopped"],
        ["train", own, folder / "own"],
        ["train", twin, folder / "twin"],
        ["round", folder / "twin", folder / "rounded"],
    ]
    return join(2, jobs)


def losses(run: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([record.loss for record in read_metrics(run / "metrics.jsonl").training])


def accuracies(run: Path) -> list[float]:
    return [record.accuracy for record in read_metrics(run / "metrics.jsonl").training]


def state(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    return checkpoint.model


@pytest.mark.parametrize("name", ["two", "three"])
def test_several_processes_train_what_one_trains_up_to_rounding(
    name: str, one: Path, request: pytest.FixtureRequest, folder: Path
) -> None:
    request.getfixturevalue(name)
    several = folder / name
    assert len(losses(several)) == 30
    np.testing.assert_allclose(losses(several), losses(one), rtol=0, atol=1e-4)
    # Counts of images, divided by their number: of the same predictions.
    assert accuracies(several) == accuracies(one)
    # Names too, and BatchNorm's running statistics.
    torch.testing.assert_close(state(several), state(one), rtol=1e-4, atol=1e-4)
    shapes, expected = SnapshotFile(several / "positions.bin"), SnapshotFile(one / "positions.bin")
    assert [layer.name for layer in shapes.layers] == [layer.name for layer in expected.layers]
    assert len(shapes) == len(expected) == 31


def test_positions_move_by_the_direction_of_the_whole_gradient(
    one: Path, two: object, three: object, folder: Path
) -> None:
    (name,) = [name for name in state(one) if name.endswith("positions")]
    moved = (state(one)[name] - state(one)[name].round()).abs().amax()
    assert moved > 0.1
    for several in ("two", "three"):
        torch.testing.assert_close(state(folder / several)[name], state(one)[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["two", "three"])
def test_an_evaluation_shared_out_is_the_one_of_one_process(
    name: str, request: pytest.FixtureRequest, folder: Path
) -> None:
    reports = request.getfixturevalue(name)
    alone = evaluate_run(folder / name).evaluation
    for report, *_ in reports:
        assert report["evaluation"] == {
            "images": 110,
            "errors": alone.errors,
            "top5_errors": alone.top5_errors,
            "loss": alone.loss,
        }


def test_the_same_number_of_processes_gives_the_same_bits(
    two: list[list[dict[str, Any]]], folder: Path, content: Content
) -> None:
    assert content(folder / "again") == content(folder / "two")


def test_a_wish_to_stop_reaches_all_and_resumed_they_give_the_same_bits(
    two: list[list[dict[str, Any]]], folder: Path, content: Content
) -> None:
    stopped = [report[2] for report in two]
    # Only the second process got the signal.
    assert [report["stopped_by"] for report in stopped] == ["SIGTERM", "SIGTERM"]
    assert stopped[0]["iteration"] == stopped[1]["iteration"] < 30
    assert [report[3]["iteration"] for report in two] == [30, 30]
    assert [text for text in two[0][3]["told"] if "other conditions" in text] == []
    assert content(folder / "stopped") == content(folder / "two")


def test_three_processes_stopped_and_resumed_give_the_same_bits(three: object, folder: Path, content: Content) -> None:
    # Sums of three depend on their order, and so on how gradients are packed, which changes in the first iterations.
    assert content(folder / "three stopped") == content(folder / "three")


def test_batch_norm_of_each_process_is_another_training_and_says_so(
    one: Path, two: list[list[dict[str, Any]]], folder: Path
) -> None:
    assert np.abs(losses(folder / "own") - losses(one)).max() > 1e-2
    environments = [RunDirectory.open(folder / name).environment for name in ("one", "two", "own")]
    assert [environment["processes"] for environment in environments] == [1, 2, 2]
    assert [environment["batch_norm"] for environment in environments] == [None, "synchronized", "per_process"]
    alone = evaluate_run(folder / "own").evaluation
    # What is saved is what was evaluated, though the statistics of the two differ.
    assert [report[4]["evaluation"]["loss"] for report in two] == [alone.loss, alone.loss]


def test_all_get_the_first_ones_report_and_only_its_events_are_told(two: list[list[dict[str, Any]]]) -> None:
    for first, second in zip(*two, strict=True):
        told, silence = first.pop("told", None), second.pop("told", None)
        assert first == second
        assert told != []
        assert not silence


def test_the_frozen_twin_and_the_rounding_are_trained_by_all(
    two: list[list[dict[str, Any]]], folder: Path, tiny: Tiny, content: Content
) -> None:
    from acu_core.experiments.rounding import round_and_finetune

    expected = frozen_twin.train(tiny("compare_frozen=true"), folder / "twin of one")
    assert expected.frozen is not None
    assert two[0][5]["frozen"]["loss"] == pytest.approx(expected.frozen.loss, abs=1e-4)
    rounded = round_and_finetune(folder / "twin of one", folder / "rounded of one")
    assert rounded.rounding is not None
    assert two[0][6]["rounding"]["before"]["loss"] == pytest.approx(rounded.rounding.before.loss, abs=1e-4)
    assert rounded.evaluation is not None
    assert two[0][6]["evaluation"]["loss"] == pytest.approx(rounded.evaluation.loss, abs=1e-3)
    torch.testing.assert_close(state(folder / "rounded"), state(folder / "rounded of one"), rtol=1e-3, atol=1e-3)


def test_one_process_goes_on_with_the_run_of_two_and_says_that_bits_differ(
    two: object, folder: Path, recorded: Callable[[], Any], one: Path
) -> None:
    events = recorded()
    report = frozen_twin.resume(folder / "again", ["schedule.iterations=34"], events=events)
    assert report.iteration == 34
    assert any("processes was 2, is 1" in text for text in events.warnings)
    frozen_twin.resume(one, ["schedule.iterations=34"])
    np.testing.assert_allclose(losses(folder / "again"), losses(one), rtol=0, atol=1e-4)


def test_one_sentence_is_said_when_a_process_fails_and_the_checkpoint_is_good(folder: Path, tiny: Tiny) -> None:
    recipe = written(tiny(*LONG, "schedule.checkpoint_every=4"), folder / "failing.toml")
    outcomes = join(2, [["fail", recipe, folder / "failing", 10, 1]])
    assert outcomes[0] == [{"error": None}]
    sentence = "UserError: 7.jpg cannot be read as an image (iteration 8 is saved)"
    assert outcomes[1] == [{"error": sentence}]
    checkpoint = load_latest_checkpoint(RunDirectory.open(folder / "failing"))
    assert checkpoint is not None
    assert (checkpoint.iteration, checkpoint.skipped) == (8, ())
