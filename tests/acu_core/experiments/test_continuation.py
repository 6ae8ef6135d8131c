"""One call that begins a run or goes on with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from acu_core.errors import UserError
from acu_core.experiments import continuation
from acu_core.experiments.continuation import FinishedRun, train_or_continue, whole_standing
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.report import TrainingReport
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.runs.run_directory import RunDirectory
from acu_core.train import run_training
from acu_core.train.standing import Standing

Tiny = Callable[..., Recipe]
Content = Callable[[Path], dict[str, object]]


def state(path: Path) -> dict[str, tuple[int, int, int]]:
    """Everything about every file and directory that a change would change."""
    found = {}
    for entry in [path, *path.rglob("*")]:
        status = entry.stat()
        found[str(entry)] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def test_from_nothing_to_the_end_and_no_further(
    tmp_path: Path, tiny: Tiny, content: Content, recorded: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("compare_frozen=true")
    whole, run = tmp_path / "whole", tmp_path / "run"
    reference = train(recipe, whole)

    def stop(done: int) -> None:
        # In the twin, which is the second part.
        if len(events.begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    events = recorded(stop)
    monkeypatch.setattr(run_training, "BLOCK", 2)
    stopped = train_or_continue(recipe, run, events=events)
    assert isinstance(stopped, TrainingReport)
    assert stopped.stopped_by == "SIGTERM"
    assert whole_standing(recipe, run) is Standing.BEGUN, "the run itself is finished, its twin is not"
    ended = train_or_continue(recipe, run)
    assert isinstance(ended, TrainingReport)
    assert ended.finished
    for part in (".", "frozen"):
        assert content(run / part) == content(whole / part)
    before = state(run)
    again = train_or_continue(recipe, run)
    assert isinstance(again, FinishedRun)
    assert state(run) == before
    assert reference.evaluation is not None
    assert reference.frozen is not None
    assert again.iteration == 12
    assert again.frozen is not None
    assert again.evaluation.test_errors == reference.evaluation.errors
    assert again.frozen.test_errors == reference.frozen.errors
    with pytest.raises(UserError, match="seed is 0 there, not 1"):
        train_or_continue(recipe.changed(seed=1), run)
    assert state(run) == before


def test_what_is_called_the_same_is_the_same(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny()
    ended, again = (train_or_continue(recipe, tmp_path / "run").as_json() for _ in range(2))
    assert (ended.pop("already_finished"), again.pop("already_finished")) == (False, True)
    assert again.keys() <= ended.keys()
    assert again["averaged"] is again["validation"] is again["best_iteration"] is None
    same = again.keys() - {"seconds", "evaluation"}
    assert {key: ended[key] for key in same} == {key: again[key] for key in same}
    assert again["evaluation"].items() <= ended["evaluation"].items()


def test_all_that_was_evaluated_is_said_again(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny("average.decay=0.9", "data.validation_images=20", "schedule.keep_best=true")
    ended, again = (train_or_continue(recipe, tmp_path / "run").as_json() for _ in range(2))
    for part in ("evaluation", "averaged", "validation", "averaged_validation"):
        assert again[part].items() <= ended[part].items(), part
        assert {"images", "errors", "loss", "accuracy"} <= again[part].keys()
    assert again["best_iteration"] == ended["best_iteration"] is not None


def test_a_run_in_progress_is_refused_as_such(tmp_path: Path, tiny: Tiny) -> None:
    recipe, run = tiny(), tmp_path / "run"
    train(recipe, run)
    resume(run, ["schedule.iterations=13"])
    (run / "metrics.jsonl").write_bytes(b"".join((run / "metrics.jsonl").read_bytes().splitlines(True)[:-1]))
    longer = tiny("schedule.iterations=13")
    with RunDirectory.open(run).lock(), pytest.raises(UserError, match="written by another process"):
        train_or_continue(longer, run)


def test_a_run_that_another_process_begins_at_the_same_moment(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = tiny(), tmp_path / "run"

    def beaten(*arguments: object, **options: object) -> object:
        train(recipe, run)
        return train(recipe, run)

    monkeypatch.setattr(continuation, "train", beaten)
    assert isinstance(train_or_continue(recipe, run), FinishedRun)


def test_what_is_no_run_stays_as_it_is(tmp_path: Path, tiny: Tiny) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("kept")
    before = state(taken)
    with pytest.raises(UserError, match="not an empty directory"):
        train_or_continue(tiny(), taken)
    assert state(taken).keys() == before.keys()
    with pytest.raises(UserError, match="cannot be trained alone"):
        train_or_continue(load_recipe("cifar10-plain-acu-round"), tmp_path / "run")
