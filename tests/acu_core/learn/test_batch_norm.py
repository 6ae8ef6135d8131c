from __future__ import annotations

import copy

import pytest
import torch
from replayed_graph import ReplayedGraph
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from acu_core.learn.batch_norm import CorrectedAverage


def test_the_corrected_average_is_caffes() -> None:
    norm = nn.BatchNorm2d(2)
    average = CorrectedAverage(norm)
    generator = torch.Generator().manual_seed(0)
    weighted, weight = torch.zeros(2), 0.0
    for iteration in range(1, 6):
        batch = 3 + torch.randn(4, 2, 3, 3, generator=generator)
        average.set(iteration)
        norm(batch)
        weighted = 0.999 * weighted + batch.mean(dim=(0, 2, 3))
        weight = 0.999 * weight + 1
    torch.testing.assert_close(norm.running_mean, weighted / weight, rtol=1e-4, atol=1e-5)


def test_the_average_of_pretrained_statistics_goes_on() -> None:
    norm = nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.get_buffer("running_mean").fill_(5.0)
    batch = torch.randn(4, 2, 3, 3)
    CorrectedAverage(norm, 0.1, continued=True).set(1)
    norm(batch)
    torch.testing.assert_close(norm.running_mean, 0.9 * 5 + 0.1 * batch.mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_graph_is_not_compiled_anew_for_every_momentum(backend: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    plain = copy.deepcopy(model)
    counter = CompileCounterWithBackend(backend)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    averages = CorrectedAverage(model, 0.01), CorrectedAverage(plain, 0.01)
    counts = []
    for iteration in range(1, 6):
        images = torch.randn(4, 3, 12, 12)
        for average in averages:
            average.set(iteration)
        torch.testing.assert_close(compiled(images), plain(images))
        counts.append(counter.frame_count)
    assert counts[1:] == counts[:1] * 4
    torch.testing.assert_close(model.state_dict(), plain.state_dict())


class NormWithReLU(nn.BatchNorm2d):
    """One that computes in a way of its own, as those of other libraries do."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        statistics = self.running_mean, self.running_var
        normalized = nn.functional.batch_norm(
            input, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return normalized.relu()


def test_a_layer_of_another_kind_is_not_compiled_anew_either() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), NormWithReLU(4), nn.Flatten(2), nn.BatchNorm1d(4, affine=False))
    plain = copy.deepcopy(model)
    counter = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    averages = CorrectedAverage(model, 0.01, compiled=True), CorrectedAverage(plain, 0.01)
    for iteration in range(1, 6):
        images = torch.randn(4, 3, 12, 12)
        for average in averages:
            average.set(iteration)
        torch.testing.assert_close(compiled(images), plain(images))
        for average in averages:
            average.finish()
        torch.testing.assert_close(model.state_dict(), plain.state_dict())
        model.eval()
        plain.eval()
        torch.testing.assert_close(model(images), plain(images))
        model.train()
        plain.train()
    assert counter.frame_count == 1


def test_layers_stay_what_they_are() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm1d(2))
    names = list(model.state_dict())
    CorrectedAverage(model).set(3)
    assert isinstance(model[0], nn.BatchNorm2d)
    assert list(model.state_dict()) == names
    assert model[0].momentum == model[1].momentum == pytest.approx(0.001 / (1 - 0.999**3))


def test_layers_that_are_averaged_afterwards_keep_a_momentum_of_their_own() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2))
    average = CorrectedAverage(model, afterwards=True)
    images = torch.randn(4, 2, 3, 3)
    expected = copy.deepcopy(model)
    for iteration in (1, 2, 3):
        expected[0].momentum = 0.001 / (1 - 0.999**iteration)
        expected(images + iteration)
        average.set(iteration)
        model(images + iteration)
        average.finish()
    torch.testing.assert_close(model.state_dict(), expected.state_dict())
    # Whoever goes on with it would else forget all statistics in every step.
    assert model[0].momentum == pytest.approx(expected[0].momentum)


@pytest.mark.parametrize("captured", [False, True])
def test_a_layer_that_is_called_more_than_once_is_averaged_call_by_call(
    captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReplayedGraph, "made", [], raising=False)
    torch.manual_seed(0)
    shared, other = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    model = nn.Sequential(shared, nn.ReLU(), shared, other, nn.ReLU(), shared)
    expected = copy.deepcopy(model)
    average, plain = CorrectedAverage(model, 0.1, afterwards=True), CorrectedAverage(expected, 0.1)
    images = torch.randn(4, 2, 3, 3)
    graph = ReplayedGraph(torch.device("cpu"))
    for iteration in range(1, 7):
        images.copy_(torch.randn(4, 2, 3, 3) + iteration)
        plain.set(iteration)
        expected(images)
        average.set(iteration)
        if not captured or iteration <= 2:
            model(images)
        else:
            if iteration == 3:
                graph.capture(lambda: model(images))
            graph.replay()
        average.finish()
        torch.testing.assert_close(model.state_dict(), expected.state_dict())
    # An evaluation is no call that leaves anything.
    before = copy.deepcopy(model.state_dict())
    average.set(7)
    model.eval()(images)
    model.train()(images)
    average.finish()
    plain.set(7)
    expected(images)
    assert any((before[name] != value).any() for name, value in model.state_dict().items())
    torch.testing.assert_close(model.state_dict(), expected.state_dict())
