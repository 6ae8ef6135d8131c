"""Whole networks as ordinary convolutions, and back: what a network may hold beside its layers."""

from __future__ import annotations

import copy

import pytest
import torch
from oracles import relative_error
from torch import Tensor, nn

from acu_core import ActiveConv2d
from acu_core.nn.conversion import from_conv2d, to_conv2d
from acu_core.nn.networks import build_network


def moved(*arguments: int, **options: object) -> ActiveConv2d:
    layer = ActiveConv2d(*arguments, **options)  # type: ignore[arg-type]
    layer.positions.data += torch.randn(layer.positions.shape, generator=torch.Generator().manual_seed(0))
    return layer


def test_nothing_of_ours_is_left_and_the_model_stays() -> None:
    model = nn.Sequential(moved(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), moved(4, 2, 3)))
    before = copy.deepcopy(model.state_dict())
    plain = to_conv2d(model)
    assert {type(module).__module__.split(".")[0] for module in plain.modules()} == {"torch"}
    assert not [name for name in plain.state_dict() if name.endswith("positions")]
    image = torch.randn(2, 3, 9, 9)
    assert relative_error(plain.eval()(image), copy.deepcopy(model).eval()(image)) < 1e-5
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert isinstance(model[0], ActiveConv2d)


def test_the_root_may_be_the_layer() -> None:
    layer = moved(2, 4, 3, position_groups=2, groups=2)
    plain = to_conv2d(layer)
    assert type(plain) is nn.Conv2d
    image = torch.randn(1, 2, 12, 12)
    assert relative_error(plain(image), layer(image)) < 1e-5


class Shared(nn.Module):
    """One layer under two names, in a list and behind a bound method."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first = layer
        self.blocks = nn.ModuleDict({"again": layer})
        self.in_order = [self.first, layer]
        self.call = layer.__call__

    def forward(self, images: Tensor) -> Tensor:
        for layer in (*self.in_order, self.first, self.blocks["again"], self.call):
            images = layer(images)
        return images


@pytest.mark.parametrize("back", [False, True])
def test_a_layer_that_is_used_twice_stays_one(back: bool) -> None:
    image = torch.randn(1, 2, 9, 9)
    if back:
        model = Shared(nn.Conv2d(2, 2, 3, padding=1))
        other = from_conv2d(model)
        kind: type[nn.Module] = ActiveConv2d
    else:
        model = Shared(moved(2, 2, 3, padding=1))
        other = to_conv2d(model)
        kind = nn.Conv2d
    assert isinstance(other, Shared)
    found = [other.first, other.blocks["again"], *other.in_order, other.call.__self__]
    assert {type(layer) for layer in found} == {kind}
    assert len(set(map(id, found))) == 1
    assert relative_error(other(image), model(image)) < 1e-5


def test_hooks_go_along() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unit = moved(2, 2, 3, padding=1)
            self.factor = nn.Parameter(torch.tensor(2.0))
            self.unit.register_forward_hook(self.scale)
            self.unit.register_forward_pre_hook(lambda layer, images: (images[0] + 1,))

        def scale(self, layer: nn.Module, images: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output * self.factor

        def forward(self, images: Tensor) -> Tensor:
            return self.unit(images)

    model = Doubled()
    plain = to_conv2d(model)
    image = torch.randn(1, 2, 5, 5)
    assert relative_error(plain(image), model(image)) < 1e-5
    with torch.no_grad():
        plain.factor.zero_()
    assert not plain(image).any(), "the hook of the copy belongs to the copy"
    assert model(image).any()


def test_training_mode_and_frozen_parameters_stay() -> None:
    model = nn.Sequential(moved(2, 2, 3), nn.Dropout())
    model[0].weight.requires_grad_(False)
    model[1].eval()
    plain = to_conv2d(model)
    assert [module.training for module in plain] == [True, False]
    assert [p.requires_grad for p in plain.parameters()] == [False, True]
    assert not to_conv2d(model.eval())[0].training


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_precision_and_layout(dtype: torch.dtype, layout: torch.memory_format) -> None:
    model = nn.Sequential(moved(3, 6, 3, padding=1, position_groups=3), nn.Conv2d(6, 2, 1)).to(dtype)
    model = model.to(memory_format=layout)
    image = torch.randn(2, 3, 8, 8, dtype=dtype).contiguous(memory_format=layout)
    plain = to_conv2d(model)
    assert {p.dtype for p in plain.parameters()} == {dtype}
    assert plain(image).is_contiguous(memory_format=layout)
    # The kernel is rounded once to the dtype, so the error is that of the dtype's weights.
    assert relative_error(plain(image), model(image)) < 8 * torch.finfo(dtype).eps


def test_the_kernel_is_rounded_once() -> None:
    layer = moved(4, 8, 5)
    exact = copy.deepcopy(layer).double().to_conv2d().weight
    assert torch.equal(layer.to_conv2d().weight, exact.float())


@pytest.mark.parametrize("height", [17, 19])
def test_the_planted_network_crops_by_its_kernel(height: int) -> None:
    model = build_network("planted", in_channels=2, classes=3).eval()
    unit = model.get_submodule("unit")
    assert isinstance(unit, ActiveConv2d)
    unit.positions.data += 3 * torch.randn(unit.positions.shape, generator=torch.Generator().manual_seed(1))
    image = torch.randn(2, 2, height, height)
    plain = to_conv2d(model)
    conv = plain.get_submodule("unit")
    assert isinstance(conv, nn.Conv2d)
    assert conv.padding == (0, 0)
    assert relative_error(plain(image), model(image)) < 1e-5


def test_a_synapse_too_far_out_is_named_with_its_layer() -> None:
    model = nn.Sequential(nn.ReLU(), moved(2, 2, 3))
    model[1].positions.data[0, 3] = torch.tensor([2.5, -1e7])
    with pytest.raises(ValueError, match=r"^layer 1: .* too far out, at \(y, x\) = \(2.5, -1e\+07\)"):
        to_conv2d(model)
    wide = nn.Sequential(ActiveConv2d(512, 512, 3, device="cpu"))
    wide[0].positions.data[0, 0] = -40.0
    with pytest.raises(ValueError, match=r"^layer 0: .* 81 x 81 for each of 512 x 512 pairs of channels"):
        to_conv2d(wide)
    model[1].positions.data[0, 3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^layer 1: positions \(1, 9, 2\) must be finite"):
        to_conv2d(model)


def test_a_layer_that_computes_something_else_is_refused() -> None:
    class Scaled(ActiveConv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    with pytest.raises(ValueError, match=r"layer 0: only a plain ActiveConv2d .* Scaled has another forward"):
        to_conv2d(nn.Sequential(Scaled(1, 1, 3)))
    with pytest.raises(ValueError, match="on the meta device has no values"):
        to_conv2d(ActiveConv2d(1, 1, 3, device="meta"))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", [nn.Conv2d, ActiveConv2d])
def test_a_weight_made_by_a_hook_is_refused(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.utils.weight_norm(kind(1, 1, 3)))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"layer 0: the weight of this \w+ is computed by a hook"):
        to_conv2d(model) if kind is ActiveConv2d else from_conv2d(model)


def test_a_parametrized_layer_is_converted_by_its_values() -> None:
    layer = nn.utils.parametrizations.weight_norm(moved(2, 3, 3))
    image = torch.randn(1, 2, 8, 8)
    plain = to_conv2d(nn.Sequential(layer))
    assert type(plain[0]) is nn.Conv2d  # type: ignore[index]
    assert relative_error(plain(image), layer(image)) < 1e-5
