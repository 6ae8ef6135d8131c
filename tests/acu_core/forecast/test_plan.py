from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from image_data import make_image_folder

from acu_core.errors import UserError
from acu_core.forecast import measuring_process
from acu_core.forecast import plan as plan_module
from acu_core.forecast.company import company_of, environments
from acu_core.forecast.measuring_process import Task
from acu_core.forecast.plan import plan_training
from acu_core.forecast.step_clock import Patience
from acu_core.forecast.work import Work, work_of
from acu_core.learn.step import StepFigures, TrainingStep
from acu_core.learn.workplace import choose_device
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe

FEW = Patience(seconds=0, least=1, most=1, skipped=1)
CPU = choose_device("cpu")


def test_a_plan_counts_the_twin_and_measures_in_a_process_of_its_own(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("compare_frozen=true")
    plan = plan_training(recipe, patience=FEW)
    # 12 iterations of which 3 are the warm-up's, and 12 frozen ones.
    assert plan.work == Work(still=15, moving=9, evaluations=6, checkpoints=12)
    pace, answer = plan.pace, plan.answer
    assert pace.still is not None
    assert pace.moving is not None
    expected = 15 * pace.still + 9 * pace.moving + 6 * pace.evaluation + 12 * pace.checkpoint
    assert plan.seconds == pytest.approx(plan.start_seconds + expected + answer.end_seconds)
    assert plan.start_seconds >= answer.start_seconds
    assert answer.end_seconds > 0
    # An interpreter with PyTorch takes more than that, and it has to start.
    assert plan.peak_memory > 100 * 2**20
    assert answer.start_seconds > 0.1
    assert (answer.device, answer.threads, answer.test_images, answer.source) == ("cpu", 1, 50, "generated")
    assert not plan.made_up
    assert plan.reduced_bytes == 0


@pytest.mark.usefixtures("in_this_process")
def test_what_is_compiled_is_in_the_whole(tiny: Callable[..., Recipe]) -> None:
    plan = plan_training(tiny("compare_frozen=true"), patience=FEW)
    measured = dataclasses.replace(plan.answer.measured, compiling=100.0, compiling_again=10.0)
    compiled = dataclasses.replace(plan, answers=(dataclasses.replace(plan.answer, measured=measured),))
    assert compiled.seconds == pytest.approx(plan.seconds + 110)
    alone = dataclasses.replace(compiled, recipe=tiny())
    assert alone.compiling_seconds == 100


def test_the_compiler_finds_an_empty_cache_which_is_not_left(tiny: Callable[..., Recipe]) -> None:
    with measuring_process._own_cache(tiny("machine.compile=true")) as environment:
        (cache,) = (Path(value) for value in environment.values())
        assert list(cache.iterdir()) == []
    assert not cache.exists()
    with measuring_process._own_cache(tiny()) as environment:
        assert environment == {}


@pytest.mark.usefixtures("in_this_process")
def test_what_cannot_be_trained_says_why_as_a_training_does(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="made, not read from files"):
        plan_training(tiny(), data_path=tmp_path, patience=FEW)
    with pytest.raises(UserError, match="goes on from a finished run"):
        plan_training(load_recipe("cifar10-plain-acu-round"), patience=FEW)
    with pytest.raises(UserError, match="cannot be trained on images"):
        plan_training(tiny("data.crop_padding=16", 'network.name="alexnet"', "network.options={}"), patience=FEW)


def test_missing_data_are_made_up_unless_a_path_was_named(
    in_this_process: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACU_DATA", raising=False)
    changes = ["machine.device=cpu", "data.batch_size=4", "data.options={crop=17}", "compare_frozen=false"]
    recipe = load_recipe("planted", ['data.name="places365"', *changes])
    plan = plan_training(recipe, patience=FEW)
    assert plan.made_up
    assert not plan.answer.images_in_memory
    # Of the data set that is meant: so many would be evaluated.
    assert plan.answer.validation_images == 0
    assert plan.answer.test_images == 36_500
    assert plan.answer.classes == 365
    assert [task.made_up for task in in_this_process] == [False, True]
    with pytest.raises(UserError, match="Places365"):
        plan_training(recipe, data_path=tmp_path / "nowhere", patience=FEW)
    assert list(tmp_path.iterdir()) == []


def test_image_files_are_decoded_by_processes_that_are_told_of(in_this_process: list[Task], tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "images")
    changes = ["name=mine", 'data.name="imagefolder"', "data.options={crop=17, resize=20}", "data.batch_size=4"]
    recipe = load_recipe("planted", [*changes, "machine.device=cpu", "machine.workers=2", "compare_frozen=false"])
    plan = plan_training(recipe, data_path=folder, patience=FEW)
    assert plan.answer.source == str(folder)
    assert plan.answer.test_images == 24
    assert plan.answer.memory.workers == 2
    assert plan.answer.memory.decoder > 2**20


def test_one_of_many_processes_has_the_largest_share_of_a_batch(
    tiny: Callable[..., Recipe], in_this_process: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    step = TrainingStep.__call__

    def watched(self: TrainingStep, iteration: int, images: object, labels: object) -> StepFigures:
        seen.append(len(images))  # type: ignore[arg-type]
        return step(self, iteration, images, labels)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    recipe = tiny("data.batch_size=100")
    plan = plan_training(recipe, processes=64, patience=FEW)
    assert [task.processes for task in in_this_process] == [64]
    assert plan.company == "elsewhere"
    assert len(plan.answers) == 1
    # The rehearsal is of a few images alone; 36 of the 64 have two images, the others one.
    assert set(seen[1:]) == {2}
    # Float32, of every parameter that learns.
    assert plan.reduced_bytes == 4 * plan.answer.parameters + 4 * 2
    assert plan.communication_seconds == 0.0
    told = dataclasses.replace(plan, bandwidth=1e6)
    assert told.communication_seconds == pytest.approx(2 * 63 / 64 * plan.reduced_bytes / 1e6)
    assert told.seconds == pytest.approx(plan.seconds + work_of(recipe).iterations * told.communication_seconds)
    with pytest.raises(UserError, match="shared out to 64 processes"):
        plan_training(tiny(), processes=64, patience=FEW)


def test_processes_that_fit_here_are_started_and_told_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acu_core.forecast.company._processors", lambda: 4)
    assert [company_of(count, CPU) for count in (1, 2, 4, 5)] == ["none", "here", "here", "elsewhere"]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("RANK", "7")
    first, second = environments(2, "here")
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"], first["OMP_NUM_THREADS"]) == ("0", "1", "2", "2")
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    # Started by torchrun or not, one is measured alone.
    (alone,) = environments(64, "elsewhere")
    assert "RANK" not in alone


def test_two_processes_are_really_measured(tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "company_of", lambda processes, device: "here")
    plan = plan_training(tiny("data.batch_size=5"), processes=2, patience=FEW)
    assert len(plan.answers) == 2
    assert all(answer.measured.moving_timed for answer in plan.answers)
    # The first one writes.
    assert plan.disk.positions > 0
    assert plan.answers[1].measured.sample.records == ()
