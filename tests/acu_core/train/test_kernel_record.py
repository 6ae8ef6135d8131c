"""The CUDA kernels in a run's record: what was decided, what goes on with it, what the environment says against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from acu_core.data.made_up import made_up_data
from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.workplace import Workplace
from acu_core.recipe.schema import Recipe
from acu_core.runs.conditions import conditions
from acu_core.runs.run_directory import RunDirectory
from acu_core.train import begin, kernel_record, run_training
from acu_core.train.environment import differences

Tiny = Callable[..., Recipe]
GPU = torch.device("cuda", 0)
ON_A_GPU = {"device": "cuda", "device_name": "A GPU"}
DECIDED = {
    "device": "cuda",
    "device_name": "A GPU",
    "operator": {"cuda_kernels": "auto", "cuda_choices": {"a": "fused"}},
}


class Kernels:
    """What is decided in this process."""

    def __init__(self) -> None:
        self.mode = "auto"
        self.choices: dict[str, str] = {}
        self.resumed: list[tuple[str, dict[str, str]]] = []

    def resume(self, mode: str, choices: dict[str, str]) -> None:
        self.mode = mode
        self.resumed.append((mode, dict(choices)))


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> Kernels:
    found = Kernels()
    monkeypatch.setattr(kernel_record, "KERNELS", found)
    monkeypatch.setattr(kernel_record, "has_kernel", lambda device_type: True)
    monkeypatch.setattr(kernel_record, "wanted_cuda_kernels", lambda: None)
    return found


def test_on_a_cpu_there_is_nothing_to_record() -> None:
    assert kernel_record.kernel_record(torch.device("cpu")) == {}
    assert not kernel_record.chooses_kernels(torch.device("cpu"))


def test_what_was_decided_is_recorded(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.choices = {"forward, one": "fused"}
    assert kernel_record.kernel_record(GPU) == {"cuda_kernels": "auto", "cuda_choices": {"forward, one": "fused"}}
    assert kernel_record.chooses_kernels(GPU)
    kernels.mode = "columns"
    assert not kernel_record.chooses_kernels(GPU)
    monkeypatch.setattr(kernel_record, "has_kernel", lambda device_type: device_type == "cpu")
    assert kernel_record.kernel_record(GPU) == {}


@pytest.mark.parametrize(
    ("environment", "wanted", "expected"),
    [
        (DECIDED, None, "auto"),
        (
            {**ON_A_GPU, "operator": {"cuda_kernels": "fused", "cuda_choices": {}}},
            None,
            "fused",
        ),
        (
            {
                "device": "cuda",
                "device_name": "A GPU",
                "operator": {"cuda_kernels": "auto", "cuda_choices": {"a": "fused"}},
            },
            "columns",
            "columns",
        ),
        # From before there was a choice, and from a CPU.
        ({"device": "cuda:1", "operator": {"compiled": True}}, None, "columns"),
        ({"device": "cpu", "operator": {"compiled": True}}, None, "auto"),
    ],
    ids=["decided", "named", "named otherwise now", "earlier", "from a CPU"],
)
def test_a_run_goes_on_with_its_own(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch, environment: Any, wanted: str | None, expected: str
) -> None:
    monkeypatch.setattr(kernel_record, "wanted_cuda_kernels", lambda: wanted)
    kernel_record.resume_kernels(environment, "A GPU")
    assert kernels.resumed == [(expected, environment["operator"].get("cuda_choices", {}))]


def test_what_another_gpu_decided_is_decided_anew(kernels: Kernels) -> None:
    kernel_record.resume_kernels(DECIDED, "Another GPU")
    assert kernels.resumed == [("auto", {})]


def test_a_choice_that_is_added_later_is_no_change_of_the_conditions(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "", {"operator": {"cuda_kernels": "auto"}})
    before = run.environment_sha256
    run.replace_environment({"operator": {"cuda_kernels": "auto", "cuda_choices": {"a": "fused"}}})
    assert run.environment_sha256 == before
    run.replace_environment({"operator": {"cuda_kernels": "columns", "cuda_choices": {"a": "fused"}}})
    assert run.environment_sha256 != before


def test_a_new_run_forgets_what_another_has_decided(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_record.begin_kernels()
    monkeypatch.setattr(kernel_record, "wanted_cuda_kernels", lambda: "fused")
    kernel_record.begin_kernels()
    assert kernels.resumed == [("auto", {}), ("fused", {})]


def test_other_kernels_are_other_conditions() -> None:
    earlier: dict[str, Any] = {"operator": {"compiled": True}}
    columns, fused = ({"operator": {"compiled": True, "cuda_kernels": name}} for name in ("columns", "fused"))
    assert conditions(earlier) == conditions(columns)
    assert differences(columns, fused) == ["operator cuda_kernels was columns, is fused"]


class Two(Processes):
    size = 2

    def collected(self, value: Any) -> list[Any]:
        return [{"a": "fused", "b": "columns"}, {"b": "fused", "c": "fused"}]


def test_several_processes_take_the_first_ones(kernels: Kernels) -> None:
    kernel_record.share_choices(ALONE)
    assert kernels.resumed == []
    kernel_record.share_choices(Two())
    assert kernels.resumed == [("auto", {"a": "fused", "b": "columns", "c": "fused"})]


def test_what_is_decided_later_is_added_when_the_run_is_saved(
    kernels: Kernels, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Any
) -> None:
    real = kernel_record.record_choices

    def as_on_a_gpu(run: RunDirectory, device: torch.device) -> None:
        real(run, GPU)

    monkeypatch.setattr(run_training, "record_choices", as_on_a_gpu)
    kernels.choices = {"b": "fused"}

    class Decides(type(recorded())):  # type: ignore[misc]
        def advance(self, done: int, *rest: Any) -> None:
            kernels.choices = {"b": "fused", "a": "columns"}

    monkeypatch.setattr(run_training, "BLOCK", 1)
    train(tiny(), tmp_path / "run", events=Decides())
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert list(environment["operator"]["cuda_choices"].items()) == [("a", "columns"), ("b", "fused")]
    # The newest checkpoint knows it, so nothing is said when the run goes on.
    later = recorded()
    assert resume(tmp_path / "run", ["schedule.iterations=14"], events=later).finished
    assert later.warnings == []


@pytest.mark.parametrize("choosing", [True, False])
def test_the_rehearsal_decides_with_a_whole_batch(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, choosing: bool) -> None:
    seen: list[tuple[int, bool]] = []
    real = begin.TrainingStep

    class Noted(real):  # type: ignore[valid-type, misc]
        def __call__(self, iteration: int, images: torch.Tensor, labels: torch.Tensor) -> Any:
            seen.append((len(images), self._recipe.machine.compile))
            return super().__call__(iteration, images, labels)

    monkeypatch.setattr(begin, "chooses_kernels", lambda device: choosing)
    monkeypatch.setattr(begin, "TrainingStep", Noted)
    place = Workplace(made_up_data(2, 17, 8, 48), torch.device("cpu"), 1)
    begin.rehearse(tiny(), place)
    assert seen == [(16 if choosing else 2, False)]


@pytest.mark.parametrize(
    "operator",
    [{"cuda_kernels": "quick"}, {"cuda_choices": []}, {"cuda_choices": {"forward": "quick"}}],
)
def test_a_damaged_record_is_named(tmp_path: Path, tiny: Tiny, operator: dict[str, Any]) -> None:
    train(tiny("schedule={iterations=1}"), tmp_path / "run")
    path = tmp_path / "run" / "environment.json"
    environment = json.loads(path.read_text())
    path.write_text(json.dumps({**environment, "operator": {**environment["operator"], **operator}}))
    with pytest.raises(UserError, match=r"environment\.json is damaged: operator\.cuda_"):
        resume(tmp_path / "run")
