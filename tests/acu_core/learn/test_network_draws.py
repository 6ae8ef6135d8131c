from __future__ import annotations

import pytest
import torch

from acu_core.learn.network_draws import seed_network_draws


def test_the_draws_are_those_of_manual_seed() -> None:
    torch.manual_seed(7 + 2**40)
    expected = torch.rand(5)
    torch.rand(3)
    seed_network_draws(7 + 2**40, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected)


def test_devices_that_do_not_train_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seed: int) -> None:
        raise AssertionError("this device does not train")

    for device in (torch.cuda, torch.xpu, torch.mtia):
        monkeypatch.setattr(device, "manual_seed_all", fail)
    seed_network_draws(1, torch.device("cpu"))
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    seed_network_draws(2, torch.device("cuda"))
    assert seeds == [2]
