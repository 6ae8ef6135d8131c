"""BatchNorm over several processes beside PyTorch's own over the whole batch, in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from threaded_processes import in_threads
from torch import Tensor, nn

from acu_core.learn.batch_norm import CorrectedAverage
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.synchronized_batch_norm import synchronize_batch_norms

CPU = torch.device("cpu")
LAYERS = {
    "as in the networks": lambda: nn.BatchNorm2d(3),
    "without scale and shift": lambda: nn.BatchNorm2d(3, affine=False),
    "without statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
}


def trained(layer: nn.Module, images: Tensor, weight: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Output and the input's gradient of the last iteration; the parameters' gradients are left in the layer."""
    for _ in range(iterations):
        layer.zero_grad()
        given = images.clone().requires_grad_()
        output = layer(given)
        (output * weight).sum().backward()
    assert given.grad is not None
    return output.detach(), given.grad


def whole_and_shared(layer: nn.Module, images: Tensor, size: int, iterations: int = 2) -> tuple[Any, list[Any]]:
    weight = torch.randn(images.shape, dtype=images.dtype)
    alone = copy.deepcopy(layer)
    whole = (*trained(alone, images, weight, iterations), alone)

    def share(processes: Processes) -> Any:
        mine = copy.deepcopy(layer)
        synchronize_batch_norms(mine, processes, CPU)
        rows = processes.share(len(images))
        part = slice(rows.start, rows.stop)
        return (*trained(mine, images[part], weight[part], iterations), mine)

    return whole, in_threads(size, share)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [2, 3])
def test_uneven_shares_together_are_the_whole_batch(name: str, size: int) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    images = 5 + 2 * torch.randn(7, 3, 4, 5, dtype=torch.float64)
    (output, gradient, alone), shares = whole_and_shared(layer, images, size)
    torch.testing.assert_close(torch.cat([share[0] for share in shares]), output)
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), gradient)
    for number, parameter in enumerate(alone.parameters()):
        parts = [list(share[2].parameters())[number].grad for share in shares]
        torch.testing.assert_close(torch.stack(parts).sum(0), parameter.grad)
    for _, _, mine in shares:
        assert list(mine.state_dict()) == list(alone.state_dict())
        torch.testing.assert_close(mine.state_dict(), alone.state_dict())


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 6), (7, 3, 2, 3, 4)])
def test_inputs_of_other_dimensions(shape: tuple[int, ...]) -> None:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 5: nn.BatchNorm3d}
    (output, gradient, _), shares = whole_and_shared(kinds[len(shape)](3).double(), torch.randn(shape).double(), 2)
    torch.testing.assert_close(torch.cat([share[0] for share in shares]), output)
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), gradient)


def test_float32_in_channels_last_is_as_near_as_rounding() -> None:
    torch.manual_seed(0)
    images = (50 + torch.randn(7, 3, 9, 9)).to(memory_format=torch.channels_last)
    (output, gradient, _), shares = whole_and_shared(nn.BatchNorm2d(3), images, 3)
    assert shares[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(torch.cat([share[0] for share in shares]), output, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), gradient, rtol=1e-4, atol=1e-4)


def test_the_corrected_average_is_that_of_the_whole_batch() -> None:
    images = 3 + torch.randn(4, 7, 2, 3, 3)

    def average(processes: Processes) -> dict[str, Tensor]:
        layer = nn.BatchNorm2d(2)
        synchronize_batch_norms(layer, processes, CPU)
        average = CorrectedAverage(layer, 0.01)
        rows = processes.share(7)
        for iteration, batch in enumerate(images, start=1):
            average.set(iteration)
            layer(batch[rows.start : rows.stop])
        return layer.state_dict()

    expected = average(ALONE)
    for found in in_threads(2, average):
        torch.testing.assert_close(found, expected)


def test_it_evaluates_as_ever_and_one_process_keeps_pytorchs_layer() -> None:
    layer = nn.BatchNorm2d(2)
    synchronize_batch_norms(layer, ALONE, CPU)
    assert type(layer) is nn.BatchNorm2d
    images = torch.randn(4, 2, 3, 3)
    expected = copy.deepcopy(layer).eval()(images)

    def evaluated(processes: Processes) -> Tensor:
        mine = copy.deepcopy(layer)
        synchronize_batch_norms(mine, processes, CPU)
        found: Tensor = mine.eval()(images)
        return found

    for found in in_threads(2, evaluated):
        assert torch.equal(found, expected)


def test_one_value_a_channel_is_refused_only_where_it_is_all_there_is() -> None:
    def trained(processes: Processes) -> Tensor:
        layer = nn.BatchNorm2d(2)
        synchronize_batch_norms(layer, processes, CPU)
        found: Tensor = layer(torch.full((1, 2, 1, 1), float(processes.rank)))
        return found.detach()

    torch.testing.assert_close(
        torch.cat(in_threads(2, trained))[:, 0, 0, 0], torch.tensor([-1.0, 1.0]), rtol=1e-4, atol=0
    )
