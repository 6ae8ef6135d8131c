from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from acu_core.learn.averaged_weights import AveragedWeights
from acu_core.nn.active_conv2d import ActiveConv2d


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(ActiveConv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 25, 3))


def test_it_is_torchs_averaged_model_to_the_bit_and_copies_counts() -> None:
    model = network()
    ours = AveragedWeights(model, 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)  # type: ignore[no-untyped-call]
    # Its first update copies: then it holds the network before the first step, as ours does.
    theirs.update_parameters(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    by_hand = {name: value.double() for name, value in model.state_dict().items()}
    for _ in range(7):
        optimizer.zero_grad()
        model(torch.randn(4, 2, 5, 5)).square().mean().backward()
        optimizer.step()
        ours.update()
        theirs.update_parameters(model)
        by_hand = {name: 0.9 * by_hand[name] + 0.1 * value for name, value in model.state_dict().items()}
    expected = theirs.module.state_dict()
    found = ours.model.state_dict()
    assert int(found["1.num_batches_tracked"]) == 7
    for name, value in found.items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name]), name
            torch.testing.assert_close(value.double(), by_hand[name], rtol=1e-5, atol=1e-6)
    moved = found["0.positions"] != network().state_dict()["0.positions"]
    assert moved.any(), "the positions are averaged too"
    assert not moved[:, 4].any(), "the centre stays exactly where it is"


def test_it_shares_nothing_with_the_network_and_begins_anew() -> None:
    model = network()
    average = AveragedWeights(model, 0.5)
    before = {name: value.clone() for name, value in average.model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in average.model.state_dict().items())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not average.model.training
    average.restart()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in average.model.state_dict().items())
