"""A captured step has the bits of one that is not, whatever changes from step to step.

A CUDA graph needs a GPU. Here the graph is `ReplayedGraph`, which keeps the numbers and the memory of its capture as a
CUDA graph does; everything else is what a training on a GPU runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from replayed_graph import ReplayedGraph
from torch import Tensor, nn

from acu_core.data.made_up import made_up_data
from acu_core.experiments.frozen_twin import resume, train
from acu_core.learn import step, step_graph
from acu_core.learn.batch import recipe_batch
from acu_core.learn.batch_norm import CorrectedAverage
from acu_core.learn.captured_step import WARM_UP, CapturedGradients, CapturedResult, CapturedUpdate
from acu_core.learn.network import recipe_network
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.step import TrainingStep
from acu_core.learn.step_graph import capture_note, captures
from acu_core.recipe.schema import Recipe

Tiny = Callable[..., Recipe]
Content = Callable[[Path], dict[str, object]]
CPU = torch.device("cpu")
DATA = made_up_data(2, 17, 8, 48)
GRAPH = "machine.cuda_graph=true"


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[ReplayedGraph]:
    """The CPU as if it were a GPU: graphs are captured, and BatchNorm's averages are taken after the forward pass."""
    ReplayedGraph.made = []

    def afterwards(*arguments: Any, **options: Any) -> CorrectedAverage:
        return CorrectedAverage(*arguments, **{**options, "afterwards": True})

    monkeypatch.setattr(step, "CudaGraph", ReplayedGraph)
    monkeypatch.setattr(step_graph, "_hindrance", lambda device, processes: None)
    monkeypatch.setattr(step, "CorrectedAverage", afterwards)
    return ReplayedGraph.made


def begun(recipe: Recipe, model: nn.Module | None = None) -> TrainingStep:
    torch.manual_seed(0)
    return TrainingStep(model or recipe_network(recipe, 2, 8, pretrained=False), recipe)


def bits(trained: TrainingStep) -> list[Tensor]:
    states = [value for state in trained.optimizer.state.values() for value in state.values()]
    return [*trained.model.state_dict().values(), *(value for value in states if isinstance(value, Tensor))]


def assert_alike(
    recipe: Recipe, plain: Recipe, count: int = 14, network: Callable[[], nn.Module] | None = None
) -> None:
    assert recipe.machine.cuda_graph
    assert not plain.machine.cuda_graph
    steps = []
    for one in (recipe, plain):
        torch.manual_seed(1)
        steps.append(begun(one, network() if network else None))
    for iteration in range(1, count + 1):
        batch = recipe_batch(plain, DATA, iteration)
        figures = [one(iteration, *batch) for one in steps]
        for name in ("loss", "accuracy"):
            assert torch.equal(getattr(figures[0], name), getattr(figures[1], name)), (iteration, name)
        for place, (ours, theirs) in enumerate(zip(*map(bits, steps), strict=True)):
            assert torch.equal(ours, theirs), (iteration, place)


# Positions move from iteration 4 on; rates fall after 6 and 9, so that the update is captured three times, or never.
@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("optimizer.gradient_clip=0.1",),
        ("machine.precision=bfloat16",),
        ("machine.precision=float16",),
        ("optimizer.nesterov=true",),
        ("optimizer.momentum=0.0",),
        ("optimizer.freeze_positions=true",),
        ('schedule={name="cosine", iterations=14, warm_up=3, linear_start=4}',),
        ('optimizer={name="adamw", learning_rate=0.001, position_learning_rate=0.001}',),
    ],
    ids=["plain", "clip", "bfloat16", "float16", "nesterov", "no momentum", "frozen", "cosine", "adamw"],
)
def test_the_same_bits_in_every_step(tiny: Tiny, graphs: list[ReplayedGraph], changes: tuple[str, ...]) -> None:
    assert_alike(tiny(GRAPH, *changes), tiny(*changes))
    gradients, *updates = graphs
    assert (gradients.warmed, gradients.captures, gradients.replays) == (WARM_UP, 1, 14 - WARM_UP)
    numbered = any(word in change for change in changes for word in ("cosine", "adamw", "float16")) and not any(
        "bfloat16" in change for change in changes
    )
    assert all(one.captures == 1 for one in updates)
    assert bool(updates) == (not numbered)


def test_the_update_is_captured_anew_when_a_rate_changes(tiny: Tiny, graphs: list[ReplayedGraph]) -> None:
    long = ["schedule.iterations=40", "schedule.warm_up=10", "schedule.divisions=[20, 30]"]
    assert_alike(tiny(GRAPH, *long), tiny(*long), count=40)
    # In the warm-up, then once for each rate.
    updates = graphs[1:]
    assert [one.replays for one in updates] == [10 - 2 * WARM_UP, 10 - WARM_UP, 10 - WARM_UP, 10 - WARM_UP]


def test_draws_are_those_of_the_iteration(tiny: Tiny, graphs: list[ReplayedGraph]) -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(2 * 17 * 17, 8))

    assert_alike(tiny(GRAPH), tiny(), network=network)
    assert graphs[0].replays


def test_an_overflow_in_float16_leaves_the_step_out(tiny: Tiny) -> None:
    half = "machine.precision=float16"
    steps = [begun(tiny(GRAPH, half)), begun(tiny(half))]
    scales = []
    for iteration in range(1, 12):
        images, labels = recipe_batch(tiny(half), DATA, iteration)
        if iteration in (2, 8):
            # Once before the capture, once in a replay.
            images = images * 1e30
        for one in steps:
            one(iteration, images, labels)
        # What overflows makes BatchNorm's averages NaN.
        torch.testing.assert_close(*map(bits, steps), rtol=0, atol=0, equal_nan=True)
        state = [one.loss_scaling.state_dict() for one in steps]
        assert state[0] == state[1] != None  # noqa: E711
        scales.append(state[0]["scale"])  # type: ignore[index]
    assert scales[7] == scales[6] / 2


def test_a_number_of_python_stays_what_it_was_at_the_capture(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    # What this file would not see, were its graph no graph: BatchNorm's momentum as a number.
    monkeypatch.setattr(step, "CorrectedAverage", CorrectedAverage)
    with pytest.raises(AssertionError):
        assert_alike(tiny(GRAPH), tiny())


def test_a_batch_of_another_size_is_taken_as_it_is(tiny: Tiny) -> None:
    recipes = tiny(GRAPH), tiny()
    steps = [begun(recipe) for recipe in recipes]
    for iteration in range(1, 9):
        images, labels = recipe_batch(recipes[1], DATA, iteration)
        if iteration == 6:
            images, labels = images[:5], labels[:5]
        for one in steps:
            one(iteration, images, labels)
        assert all(map(torch.equal, *map(bits, steps)))


def test_figures_of_a_step_stay_when_the_next_is_taken(tiny: Tiny) -> None:
    trained = begun(tiny(GRAPH))
    kept = [trained(iteration, *recipe_batch(tiny(), DATA, iteration)).loss for iteration in range(1, 9)]
    assert len({float(loss) for loss in kept}) == len(kept)


class Refusing(ReplayedGraph):
    """A capture that fails after half of its work, as PyTorch's does at the first thing that a graph cannot hold."""

    refused = "gradients"

    def capture(self, work: Callable[[], Any]) -> Any:
        if self.refused == "gradients" or self is not self.made[0]:
            with torch.no_grad():
                self.half(work)
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        return super().capture(work)

    @staticmethod
    def half(work: Callable[[], Any]) -> None:
        pass


@pytest.mark.parametrize(("what", "words"), [("gradients", "the training step"), ("update", "the optimizer's part of")])
def test_what_cannot_be_captured_is_trained_without(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    monkeypatch.setattr(step, "CudaGraph", Refusing)
    monkeypatch.setattr(Refusing, "refused", what)
    with pytest.warns(RuntimeWarning, match=f"^{words}.* cannot be captured as a CUDA graph") as warned:
        assert_alike(tiny(GRAPH), tiny())
    assert len(warned) == 1
    assert "(CUDA error: operation not permitted when stream is capturing)" in str(warned[0].message)


def test_a_result_is_captured_and_each_is_its_own(graphs: list[ReplayedGraph]) -> None:
    value = torch.zeros(2)
    captured = CapturedResult(lambda: value * 2, lambda: ReplayedGraph(CPU))
    found = []
    for number in range(WARM_UP + 4):
        value.fill_(number)
        found.append(captured())
    assert [one.tolist() for one in found] == [[2 * number] * 2 for number in range(WARM_UP + 4)]
    assert (graphs[0].captures, graphs[0].replays) == (1, 4)


def test_a_result_that_cannot_be_captured_is_computed(graphs: list[ReplayedGraph]) -> None:
    value = torch.zeros(2)
    captured = CapturedResult(lambda: value * 2, lambda: Refusing(CPU))
    for _ in range(WARM_UP):
        captured()
    value.fill_(1)
    with pytest.warns(RuntimeWarning, match="^what is recorded of the shapes cannot be captured"):
        assert captured().tolist() == [2, 2]
    value.fill_(2)
    assert captured().tolist() == [4, 4]


def test_gradients_of_a_failed_capture_are_forgotten() -> None:
    weight = nn.Parameter(torch.ones(2))
    calls = []

    def compute(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(weight.grad)
        (images * weight).sum().backward()
        return images.sum(), labels.sum()

    class Half(ReplayedGraph):
        def capture(self, work: Callable[[], Any]) -> Any:
            work()
            raise RuntimeError

    ReplayedGraph.made = []
    captured = CapturedGradients([weight], lambda: Half(CPU))

    def take(count: int) -> None:
        for _ in range(count):
            captured(compute, torch.ones(2), torch.ones(2))
            weight.grad = None

    with pytest.warns(RuntimeWarning, match="RuntimeError"):
        take(WARM_UP + 2)
    assert calls == [None] * len(calls)
    assert not captured.replayed


def test_the_update_waits_for_numbers_that_stay() -> None:
    done: list[int] = []
    ReplayedGraph.made = []
    update = CapturedUpdate(lambda: ReplayedGraph(CPU))
    for number in range(10):
        update(number, lambda number=number: done.append(number))
    assert done == list(range(10))
    assert not ReplayedGraph.made


class Several(Processes):
    size = 2


def test_where_there_is_no_graph(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    recipe, gpu = tiny(GRAPH), torch.device("cuda", 0)
    assert not captures(recipe, CPU, ALONE)
    assert capture_note(recipe, CPU, ALONE) == (
        "machine.cuda_graph needs an NVIDIA GPU, which cpu is not: this is trained without, to the same results"
    )
    assert captures(recipe, gpu, ALONE)
    assert capture_note(recipe, gpu, ALONE) is None
    assert not captures(recipe, gpu, Several())
    assert "for one process, not for several" in str(capture_note(recipe, gpu, Several()))
    assert not captures(tiny(), gpu, ALONE)
    assert capture_note(tiny(), CPU, ALONE) is None


def test_a_whole_run_with_and_without(
    tiny: Tiny, tmp_path: Path, content: Content, recorded: Any, graphs: list[ReplayedGraph]
) -> None:
    average = "average.decay=0.9"
    train(tiny(GRAPH, average), tmp_path / "graph")
    # The rehearsal's, the gradients', and what is recorded of the shapes; no rate lasts long enough for the update's.
    assert [one.replays for one in graphs] == [0, 12 - WARM_UP, 12 - WARM_UP]
    train(tiny(average), tmp_path / "plain")
    found, expected = content(tmp_path / "graph"), content(tmp_path / "plain")
    assert found.pop("recipe") != expected.pop("recipe")
    assert found == expected


def test_what_has_no_shapes_has_no_graph_of_them(tiny: Tiny, tmp_path: Path, graphs: list[ReplayedGraph]) -> None:
    train(tiny(GRAPH, "network.unit=convolution"), tmp_path / "base")
    # The rehearsal's, and the gradients'. An empty capture would be a warning of PyTorch's.
    assert [one.replays for one in graphs] == [0, 12 - WARM_UP]


def test_shapes_elsewhere_than_the_step_are_not_captured(
    tiny: Tiny, tmp_path: Path, graphs: list[ReplayedGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_device_of", lambda model: torch.device("meta"))
    monkeypatch.setattr(step, "seed_network_draws", lambda seed, device: None)
    train(tiny(GRAPH), tmp_path / "run")
    assert [one.replays for one in graphs] == [0, 12 - WARM_UP]


def test_on_a_cpu_it_is_said_and_recorded(
    tiny: Tiny, tmp_path: Path, content: Content, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    events = recorded()
    train(tiny(GRAPH), tmp_path / "graph", events=events)
    assert len(events.warnings) == 1
    assert events.warnings[0].startswith("machine.cuda_graph needs an NVIDIA GPU")
    train(tiny(), tmp_path / "plain")
    found, expected = content(tmp_path / "graph"), content(tmp_path / "plain")
    assert found.pop("recipe") != expected.pop("recipe")
    assert found == expected
    later = recorded()
    resume(tmp_path / "graph", events=later)
    assert later.warnings == events.warnings
