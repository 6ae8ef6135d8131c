from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from acu_core.data.in_memory import InMemoryData
from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.learn.evaluation import Evaluation, evaluate_network
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.json_lines import read_log
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train import run_training
from acu_core.train.recorder import DivergedError

Content = Callable[[Path], dict[str, object]]
Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    report = train(tiny(), path)
    assert report.finished
    return path


def test_every_iteration_has_a_snapshot(whole: Path, tiny: Tiny) -> None:
    snapshots = SnapshotFile(whole / "positions.bin")
    assert snapshots.iterations.tolist() == list(range(13))
    assert len(snapshots.layers) == 1
    positions = np.asarray(snapshots.positions(snapshots.layers[0].name))
    square = [[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert positions[0].tolist() == [square]
    assert np.array_equal(positions[3], positions[0]), "the warm-up moves nothing"
    moved = np.abs(np.diff(positions[3:], axis=0)).sum(axis=(-1, -2))
    assert (moved > 0).all()
    assert (positions[:, :, 4] == 0).all(), "the centre is fixed"


def test_weight_norms_are_those_of_the_weights(whole: Path) -> None:
    snapshots = SnapshotFile(whole / "positions.bin")
    name = snapshots.layers[0].name
    checkpoint = load_latest_checkpoint(RunDirectory.open(whole))
    assert checkpoint is not None
    weight = checkpoint.model[f"{name}.weight"]
    expected = weight.square().sum((0, 1)).sqrt().numpy()
    np.testing.assert_allclose(np.asarray(snapshots.weight_norms(name))[-1, 0], expected, rtol=1e-5)


def test_the_header_says_what_the_animation_needs(whole: Path) -> None:
    facts = SnapshotFile(whole / "positions.bin").facts
    assert facts.warm_up == 3
    assert np.asarray(facts.hidden_positions).shape == (1, 9, 2)


def test_metrics_hold_every_iteration_and_evaluation(whole: Path) -> None:
    entries = read_log(whole / "metrics.jsonl")
    trained = [entry for entry in entries if "loss" in entry]
    assert [entry["iteration"] for entry in trained] == list(range(1, 13))
    assert [entry["learning_rate"] for entry in trained] == [0.1] * 6 + [0.01] * 3 + [0.001] * 3
    assert [entry["position_learning_rate"] > 0 for entry in trained] == [False] * 3 + [True] * 9
    assert [entry["iteration"] for entry in entries if "test_loss" in entry] == [4, 8, 12]
    assert "seconds" not in (whole / "metrics.jsonl").read_text()
    assert [entry["iteration"] for entry in read_log(whole / "timings.jsonl")] == [4, 8, 12]


def test_the_speed_is_that_of_training_alone(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def taking(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def longer(*arguments: Any, **options: Any) -> Any:
            clock[0] += seconds
            return work(*arguments, **options)

        return longer

    monkeypatch.setattr(run_training, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(run_training, "evaluate_network", taking(100.0, run_training.evaluate_network))
    one = run_training.RunTraining._train_one
    monkeypatch.setattr(run_training.RunTraining, "_train_one", taking(0.5, one))
    train(tiny(), tmp_path / "run")
    resume(tmp_path / "run", ["schedule.iterations=16"])
    names = ("iteration", "session", "seconds", "iterations_per_second", "evaluation_seconds")
    assert [tuple(line[name] for name in names) for line in read_log(tmp_path / "run" / "timings.jsonl")] == [
        (4, 0, 2.0, 2.0, 100.0),
        (8, 0, 104.0, 2.0, 100.0),
        (12, 0, 206.0, 2.0, 100.0),
        (12, 12, 0.0, None, 100.0),
        (16, 12, 102.0, 2.0, 100.0),
    ]


def test_the_environment_is_recorded(whole: Path) -> None:
    environment = RunDirectory.open(whole).environment
    assert environment["threads"] == 1
    assert environment["device"] == "cpu"
    assert environment["memory_format"] == "contiguous"
    assert environment["versions"]["torch"] == torch.__version__
    assert len(environment["data"]["fingerprint"]["data"]) == 64


def test_equal_trainings_have_equal_bits_however_records_are_grouped(
    whole: Path, tmp_path: Path, tiny: Tiny, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    train(tiny(), tmp_path / "again")
    assert content(tmp_path / "again") == content(whole)


def test_the_callers_generator_and_threads_stay(tmp_path: Path, tiny: Tiny) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(tiny("schedule.iterations=2"), tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_another_seed_is_another_run(whole: Path, tmp_path: Path, tiny: Tiny) -> None:
    train(tiny("seed=1"), tmp_path / "run")
    assert (tmp_path / "run/metrics.jsonl").read_bytes() != (whole / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [2, 4, 7])
def test_a_signal_saves_and_resuming_ends_with_the_same_bits(
    whole: Path,
    tmp_path: Path,
    tiny: Tiny,
    content: Content,
    recorded: Any,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    moment: int,
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    events = recorded(lambda done: os.kill(os.getpid(), number) if done == moment else None)
    report = train(tiny(), tmp_path / "run", events=events)
    assert (report.stopped_by, report.finished) == (number.name, False)
    # Iteration 4 is evaluated: the evaluation is broken off, and made up for by the resumed run.
    assert report.iteration == moment
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    again = resume(tmp_path / "run", events=(later := recorded()))
    assert again.finished
    assert later.warnings == []
    assert later.begun == [(12, moment)]
    assert content(tmp_path / "run") == content(whole)


def test_resuming_a_finished_run_changes_nothing(whole: Path, content: Content) -> None:
    before = content(whole)
    report = resume(whole)
    assert report.finished
    assert report.evaluation is not None
    assert content(whole) == before


def test_a_finished_run_is_extended(whole: Path, tmp_path: Path, tiny: Tiny, content: Content) -> None:
    train(tiny("schedule.iterations=7"), tmp_path / "run")
    report = resume(tmp_path / "run", ["schedule.iterations=12"])
    assert report.iteration == 12
    assert content(tmp_path / "run") == content(whole)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer.learning_rate=1.0"], "optimizer.learning_rate cannot change"),
        (["schedule.iterations=11"], "has trained 12 iterations already"),
        (["schedule.divisions=[5, 9]"], r"divisions at \[6, 9\]: those cannot change"),
        (["schedule.iterations=many"], "schedule.iterations: should be a valid integer"),
    ],
)
def test_what_was_trained_cannot_be_changed(whole: Path, content: Content, overrides: list[str], expected: str) -> None:
    before = content(whole)
    with pytest.raises(UserError, match=expected):
        resume(whole, overrides)
    assert content(whole) == before


def test_a_damaged_checkpoint_is_passed_over(
    whole: Path, tmp_path: Path, tiny: Tiny, content: Content, recorded: Any
) -> None:
    train(tiny(), tmp_path / "run")
    newest = sorted((tmp_path / "run/checkpoints").glob("*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    events = recorded()
    resume(tmp_path / "run", events=events)
    assert any(newest.name in warning for warning in events.warnings)
    assert content(tmp_path / "run") == content(whole)


def test_lost_checkpoints_lose_nothing_more(tmp_path: Path, tiny: Tiny) -> None:
    train(tiny(), tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").glob("*.pt"):
        path.unlink()
    before = (tmp_path / "run/positions.bin").read_bytes()
    with pytest.raises(UserError, match="13 snapshots but no checkpoint"):
        resume(tmp_path / "run")
    assert (tmp_path / "run/positions.bin").read_bytes() == before


def test_other_conditions_are_warned_of(tmp_path: Path, tiny: Tiny, recorded: Any) -> None:
    train(tiny("schedule.iterations=2"), tmp_path / "run")
    file = tmp_path / "run/environment.json"
    environment = json.loads(file.read_text())
    environment["versions"]["torch"] = "1.0"
    environment["device"] = "cuda:77"
    environment["data"]["fingerprint"]["data"] = "0"
    file.write_text(json.dumps(environment))
    events = recorded()
    assert resume(tmp_path / "run", ["schedule.iterations=3"], events=events).iteration == 3
    said = " ".join(events.warnings)
    assert "cuda:77" in said
    assert "bits will differ" in said
    assert "torch was 1.0" in said
    assert "the data itself" in said


def test_a_run_that_is_being_written_is_left_alone(whole: Path) -> None:
    run = RunDirectory.open(whole)
    with run.lock(), pytest.raises(UserError, match="another process"):
        resume(whole)


def test_runs_never_overwrite(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny("schedule.iterations=1")
    assert [train(recipe).run for _ in range(2)] == ["runs/tiny-1", "runs/tiny-2"]
    with pytest.raises(UserError, match="holds a run already"):
        train(recipe, Path("runs/tiny-1"))


def test_nothing_is_written_before_the_data_is_there(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny("data.name=cifar10", "data.options={}", "network.name=plain")
    with pytest.raises(UserError, match=r"missing\.npz"):
        train(recipe, tmp_path / "run", data_path=tmp_path / "missing.npz")
    with pytest.raises(UserError, match="no device"):
        train(tiny("machine.device=cuda:77"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_unknown_networks_and_options(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(UserError, match="nowhere"):
        train(tiny("network.name=nowhere"), tmp_path / "run1")
    with pytest.raises(UserError, match="colour"):
        train(tiny("network.options={colour=1}"), tmp_path / "run2")
    with pytest.raises(UserError, match="colour"):
        train(tiny("data.options={colour=1}"), tmp_path / "run3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block", [1, 256])
def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", block)
    with pytest.raises(DivergedError, match=r"smaller optimizer\.learning_rate") as caught:
        train(tiny("optimizer.learning_rate=1e30"), tmp_path / "run")
    run = RunDirectory.open(tmp_path / "run")
    checkpoint = load_latest_checkpoint(run)
    assert checkpoint is not None
    assert f"the last good checkpoint is of iteration {checkpoint.iteration}" in str(caught.value)
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model.values())
    assert all(entry["iteration"] <= 12 for entry in read_log(run.metrics))


def test_a_network_that_is_evaluated_to_nothing_is_not_called_good(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Evaluation(50, 45, 20, float("nan"))
    monkeypatch.setattr(run_training, "evaluate_network", lambda *arguments, **options: nothing)
    # The first evaluation comes after iteration 4, which is saved before it.
    with pytest.raises(
        DivergedError, match=r"test loss became nan at iteration 4.* good checkpoint is of iteration 0,"
    ):
        train(tiny(), tmp_path / "run")


def test_a_step_that_breaks_the_network_is_not_saved(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loss of iteration 5 is finite, the weights after it are not, and a checkpoint is due.
    original = run_training.RunTraining._train_one

    def train_one(self: Any, iteration: int) -> None:
        original(self, iteration)
        if iteration == 5:
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))

    monkeypatch.setattr(run_training.RunTraining, "_train_one", train_one)
    with pytest.raises(DivergedError, match="not finite after iteration 5"):
        train(tiny(), tmp_path / "run")
    checkpoint = load_latest_checkpoint(RunDirectory.open(tmp_path / "run"))
    assert checkpoint is not None
    assert checkpoint.iteration == 4


def test_the_first_step_is_one_learning_rate_long(tmp_path: Path, tiny: Tiny) -> None:
    # Normalised: every synapse but the centre moves by exactly its learning rate, and no momentum built up before.
    train(tiny("optimizer.gradient_clip=1e-4"), tmp_path / "run")
    snapshots = SnapshotFile(tmp_path / "run/positions.bin")
    positions = np.asarray(snapshots.positions(snapshots.layers[0].name))
    lengths = np.linalg.norm(positions[4] - positions[3], axis=-1)[0]
    np.testing.assert_allclose(np.delete(lengths, 4), 0.1 * 0.05, rtol=1e-4)


def test_clipping_leaves_the_positions_out(tmp_path: Path, tiny: Tiny) -> None:
    train(tiny("optimizer.gradient_clip=1e-9", "optimizer.weight_decay=0.0"), tmp_path / "run")
    snapshots = SnapshotFile(tmp_path / "run/positions.bin")
    name = snapshots.layers[0].name
    norms, positions = np.asarray(snapshots.weight_norms(name)), np.asarray(snapshots.positions(name))
    np.testing.assert_allclose(norms[-1], norms[0], rtol=1e-6)
    assert np.abs(positions[-1] - positions[0]).max() > 1e-3


def test_the_frozen_comparison_is_a_run_of_its_own(tmp_path: Path, tiny: Tiny, content: Content, recorded: Any) -> None:
    events = recorded()
    report = train(tiny("compare_frozen=true"), tmp_path / "run", events=events)
    assert events.begun == [(12, 0), (12, 0)], "each part has the iterations that were asked for"
    assert [entry for entry in events.advanced if entry[0] == 12] == [(12, "training"), (12, "frozen positions")]
    assert report.frozen is not None
    assert report.frozen.images == 50
    assert report.recovery is not None
    assert report.recovery.synapses == 8
    snapshots = SnapshotFile(tmp_path / "run/frozen/positions.bin")
    positions = np.asarray(snapshots.positions(snapshots.layers[0].name))
    assert (positions == positions[0]).all()
    assert len(positions) == 13
    json.dumps(report.as_json(), allow_nan=False)


@pytest.mark.parametrize("moment", [5, 12, 17])
def test_a_stopped_comparison_goes_on(
    tmp_path: Path, tiny: Tiny, recorded: Any, monkeypatch: pytest.MonkeyPatch, content: Content, moment: int
) -> None:
    monkeypatch.setattr(run_training, "BLOCK", 1)
    recipe = tiny("compare_frozen=true")
    whole = train(recipe, tmp_path / "whole")

    def stop(done: int) -> None:
        if done + 12 * (len(events.begun) - 1) == moment:
            os.kill(os.getpid(), signal.SIGTERM)

    events = recorded(stop)
    assert not train(recipe, tmp_path / "run", events=events).finished
    later = recorded()
    report = resume(tmp_path / "run", events=later)
    assert later.begun == [(12, min(moment, 12)), (12, max(moment - 12, 0))]
    assert report.frozen == whole.frozen
    for part in ("", "frozen"):
        assert content(tmp_path / "run" / part) == content(tmp_path / "whole" / part)


def test_an_ordinary_network_trains_too(tmp_path: Path, tiny: Tiny) -> None:
    report = train(tiny("network.unit=convolution"), tmp_path / "run")
    assert report.evaluation is not None
    assert (report.recovery, report.active_layers) == (None, 0)
    assert resume(tmp_path / "run", ["schedule.iterations=14"]).iteration == 14


def test_evaluation_counts_errors(tiny: Tiny) -> None:
    images = torch.eye(4).reshape(4, 4, 1, 1)
    labels = torch.tensor([0, 1, 2, 0])
    data = InMemoryData("made up", images, labels, images, labels, tuple("abcd"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9))
    for batch_size in (1, 3, 4, 9):
        result = evaluate_network(model, data, batch_size=batch_size)
        assert (result.images, result.errors, result.accuracy) == (4, 1, 0.75)
        assert (result.top5_errors, result.top5_accuracy) == (0, 1.0), "four classes are all among the first five"

        assert result.loss == pytest.approx(float(torch.nn.functional.cross_entropy(images.flatten(1), labels)))
    assert model.training, "the mode is put back"


def test_evaluation_counts_the_first_five() -> None:
    # The classes of each image in falling order of their logits are 0, 1, ..., 6; its own is the 0th to 6th of them.
    images = -torch.arange(7.0).expand(7, 7).reshape(7, 7, 1, 1)
    labels = torch.arange(7)
    data = InMemoryData("made up", images, labels, images, labels, tuple("abcdefg"))
    for batch_size in (2, 7):
        result = evaluate_network(torch.nn.Flatten(), data, batch_size=batch_size)
        assert (result.images, result.errors, result.top5_errors) == (7, 6, 2)
    same = InMemoryData("made up", images * 0, labels, images * 0, labels, tuple("abcdefg"))
    result = evaluate_network(torch.nn.Flatten(), same, batch_size=7)
    assert result.top5_errors <= result.errors
