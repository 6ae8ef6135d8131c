from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from acu_core.nn.active_conv2d import ActiveConv2d
from acu_core.nn.unwrapped_layers import unwrapped_layers


def network() -> nn.Module:
    inner = nn.Sequential(ActiveConv2d(2, 2, 3), nn.ReLU())
    return nn.Sequential(ActiveConv2d(1, 2, 3), inner)


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")  # type: ignore[return-value]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled,
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "DataParallel of compiled": lambda model: nn.DataParallel(compiled(model)),
    "compiled DataParallel of compiled": lambda model: compiled(nn.DataParallel(compiled(model))),
    "compiled around averaged of compiled": lambda model: compiled(AveragedModel(compiled(model))),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_leave_no_name(wrap: Callable[[nn.Module], nn.Module]) -> None:
    wrapped = wrap(network())
    assert list(unwrapped_layers(wrapped)) == ["0", "1.0"]
    assert all(isinstance(layer, ActiveConv2d) for layer in unwrapped_layers(wrapped).values())


def test_distributed_wrappers_leave_no_name() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        for wrapped in (
            DistributedDataParallel(network()),
            DistributedDataParallel(compiled(network())),
            compiled(DistributedDataParallel(network())),
        ):
            assert list(unwrapped_layers(wrapped)) == ["0", "1.0"]
    finally:
        torch.distributed.destroy_process_group()


def test_wrappers_in_the_middle_and_at_the_end_of_a_name() -> None:
    inner = nn.DataParallel(compiled(nn.Sequential(ActiveConv2d(2, 2, 3))))
    model = nn.Sequential(compiled(ActiveConv2d(1, 2, 3)), inner)
    assert list(unwrapped_layers(nn.DataParallel(model))) == ["0", "1.0"]


def test_a_module_of_the_networks_own_keeps_its_name() -> None:
    model = nn.Module()
    model.module = ActiveConv2d(1, 2, 3)
    model.head = nn.ReLU()
    assert list(unwrapped_layers(model)) == ["module"]
    assert list(unwrapped_layers(compiled(model))) == ["module"]


def test_a_layer_alone_has_the_name_of_its_class() -> None:
    class Mine(ActiveConv2d):
        pass

    assert list(unwrapped_layers(Mine(1, 1, 3))) == ["Mine"]
    assert list(unwrapped_layers(compiled(ActiveConv2d(1, 1, 3)))) == ["ActiveConv2d"]
    assert unwrapped_layers(nn.Linear(1, 1)) == {}
