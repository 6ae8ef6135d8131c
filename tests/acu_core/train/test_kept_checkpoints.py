from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from warned import Warned

from acu_core.data.in_memory import InMemoryData
from acu_core.data.loading import load_data_set
from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.report import TrainingReport
from acu_core.experiments.stored_checkpoints import stored_checkpoints
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.learn.workplace import Workplace
from acu_core.recipe.schema import Recipe
from acu_core.runs.best_evaluation import best_evaluation
from acu_core.runs.checkpoints import list_checkpoints, load_checkpoint
from acu_core.runs.metrics import EvaluationRecord, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.train import run_training

Content = Callable[[Path], dict[str, object]]
Tiny = Callable[..., Recipe]

BEST = (
    "data.validation_images=40",
    "data.options={train_count=240, test_count=50}",
    "schedule.keep_best=true",
    "schedule.iterations=40",
    "schedule.divisions=[]",
    "schedule.evaluate_every=4",
    "schedule.checkpoint_every=4",
)


def kept(path: Path) -> list[int]:
    return sorted(number for number, _ in list_checkpoints(RunDirectory.open(path)))


def evaluations(path: Path) -> list[EvaluationRecord]:
    return list(read_metrics(path / "metrics.jsonl").evaluations)


def first_least(path: Path, name: str) -> int:
    """The iteration of the first evaluation with the fewest `name`."""
    found = evaluations(path)
    least = min(getattr(record, name) for record in found)
    return next(record.iteration for record in found if getattr(record, name) == least)


def place_where(wrong: str) -> Workplace:
    """The data of `BEST`, with every label of one part another one: it errs the more, the better the network is."""
    data = load_data_set("planted", seed=0, train_count=240, test_count=50, validation_images=40)
    assert isinstance(data, InMemoryData)
    changed = dataclasses.replace(data, **{wrong: (getattr(data, wrong) + 1) % 8})
    return Workplace(changed, torch.device("cpu"), 1)


def test_kept_iterations_are_saved_and_never_deleted(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("schedule.keep=[0, 3, 5]"), tmp_path / "run")
    # Saved after 5 and 10, at the end, and for the evaluations of 4 and 8; of those two stay.
    assert kept(tmp_path / "run") == [0, 3, 5, 10, 12]
    train(tiny(), tmp_path / "without")
    assert kept(tmp_path / "without") == [10, 12]
    resume(tmp_path / "run", ["schedule.iterations=20", "schedule.keep=[0, 3, 16]"])
    # 16 is to be kept, so 15 and 20 are the newest two of the others; 5 is not named any more.
    assert kept(tmp_path / "run") == [0, 3, 15, 16, 20]


@pytest.mark.parametrize("wrong", ["test_labels", "validation_labels"])
def test_the_test_images_choose_nothing(tiny: Tiny, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "run"
    report = train(tiny(*BEST), path, place=place_where(wrong))
    best = first_least(path, "validation_errors")
    other = first_least(path, "test_errors")
    # The two disagree about half of the training or more.
    assert abs(best - other) >= 20
    assert (best > other) == (wrong == "test_labels")
    assert report.best_iteration == best
    assert best in kept(path)
    if wrong == "validation_labels":
        assert kept(path) == [best, 36, 40], "of all others the newest two stay"
    (marked,) = (one for one in stored_checkpoints(path) if one.is_best)
    assert (marked.iteration, marked.is_kept) == (best, True)
    assert marked.evaluation is not None
    assert marked.evaluation.validation_images == 40
    assert evaluate_run(path, iteration="best").iteration == best


def evaluated(iteration: int, wrong: int | None, average: int | None = None, test: int = 9) -> EvaluationRecord:
    return EvaluationRecord(
        iteration, 1.0, 0.1, test, 10, validation_errors=wrong, validation_images=10, average_validation_errors=average
    )


def test_the_first_of_equals_is_the_best_and_averages_decide() -> None:
    assert best_evaluation([]) is None
    assert best_evaluation([evaluated(1, None)]) is None
    several = [evaluated(1, 5, test=1), evaluated(2, 3), evaluated(3, 3, test=0), evaluated(4, 4)]
    assert best_evaluation(several) is several[1]
    averaged = [evaluated(1, 5, 7), evaluated(2, 1, 8), evaluated(3, 6, 7)]
    assert best_evaluation(averaged) is averaged[0]


def stopped(recipe: Recipe, path: Path, at: int, recorded: type, monkeypatch: pytest.MonkeyPatch) -> TrainingReport:
    def on_advance(done: int) -> None:
        if done == at:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run_training, "BLOCK", 1)
    return train(recipe, path, events=recorded(on_advance))


def test_a_resumed_and_an_extended_run_keep_the_same_best(
    tiny: Tiny, tmp_path: Path, content: Content, recorded: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(*BEST, "schedule.iterations=24", "average={decay=0.9}")
    whole = train(recipe, tmp_path / "whole")
    for at in (11, 12, 17):
        path = tmp_path / f"stopped-{at}"
        assert stopped(recipe, path, at, recorded, monkeypatch).stopped_by == "SIGTERM"
        report = resume(path)
        assert content(path) == content(tmp_path / "whole")
        assert report.best_iteration == whole.best_iteration
        assert whole.best_iteration in kept(path)
    # A run whose end was no evaluation of the longer one's has no trace of it, in what is best either.
    short = tmp_path / "short"
    train(recipe.changed(schedule={"iterations": 18}), short)
    extended = resume(short, ["schedule.iterations=24"])
    assert content(short) == content(tmp_path / "whole")
    assert extended.best_iteration == whole.best_iteration
    assert extended.best_iteration in kept(short)


def test_the_averaged_weights_decide_where_there_are_any(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "run"
    report = train(tiny(*BEST, "average={decay=0.9}"), path)
    assert report.best_iteration == first_least(path, "average_validation_errors")
    last = evaluations(path)[-1]
    assert report.averaged is not None
    assert report.validation is not None
    assert report.averaged_validation is not None
    assert (report.averaged.errors, report.averaged.loss) == (last.average_test_errors, last.average_test_loss)
    assert report.validation.errors == last.validation_errors
    assert report.averaged_validation.errors == last.average_validation_errors
    averaged = evaluate_run(path, averaged=True)
    assert (averaged.evaluation.errors, averaged.evaluation.loss) == (last.average_test_errors, last.average_test_loss)
    assert averaged.averaged
    assert evaluate_run(path).evaluation.errors == last.test_errors
    assert last.average_test_loss != last.test_loss


def test_where_nothing_is_held_out_there_is_no_best(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(tiny(), path)
    with pytest.raises(UserError, match=r"has no best checkpoint: .* by data.validation_images$"):
        evaluate_run(path, iteration="best")
    with pytest.raises(UserError, match=r"has no averaged weights: the run's recipe has no table \[average\]"):
        evaluate_run(path, averaged=True)
    with pytest.raises(UserError, match=r"has no checkpoint of iteration 7: it keeps 10, 12$"):
        evaluate_run(path, iteration=7)
    assert [(one.iteration, one.is_newest, one.is_best) for one in stored_checkpoints(path)] == [
        (10, False, False),
        (12, True, False),
    ]
    assert load_checkpoint(RunDirectory.open(path), 12).average is None
    assert (path / "metrics.jsonl").read_text().count("average") == 0
    assert (path / "metrics.jsonl").read_text().count("validation") == 0


def test_a_checkpoint_without_the_average_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(tiny("average={decay=0.9}"), path)
    for number, file in list_checkpoints(RunDirectory.open(path)):
        content = torch.load(file, weights_only=True)
        del content["state"]["average"]
        torch.save(content, file)
        assert load_checkpoint(RunDirectory.open(path), number).average is None
    with pytest.raises(UserError, match="does not fit the run's recipe: it has no averaged weights"):
        resume(path, ["schedule.iterations=16"])


def test_an_iteration_that_is_trained_already_cannot_be_kept_without_a_word(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("schedule.keep=[3]"), tmp_path / "run")
    events = Warned()
    resume(tmp_path / "run", ["schedule.iterations=14", "schedule.keep=[2, 3, 7, 10, 13]"], events=events)
    assert [text for text in events.warnings if "schedule.keep" in text] == [
        "schedule.keep names iterations that are trained already and of which there is no checkpoint any more (2, 7): "
        "only later ones are kept from now on"
    ]
    assert {3, 10, 13} <= set(kept(tmp_path / "run"))
    assert not {2, 7} & set(kept(tmp_path / "run"))
    # Said when it is asked for, and not again.
    resume(tmp_path / "run", ["schedule.iterations=15"], events=(events := Warned()))
    assert not [text for text in events.warnings if "schedule.keep" in text]
