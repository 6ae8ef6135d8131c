from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from oracles import relative_error
from torch import Tensor, nn
from torchvision import models

from acu_core.nn.active_conv2d import ActiveConv2d, active_layers
from acu_core.nn.alexnet import AlexNet
from acu_core.nn.conversion import from_conv2d, to_conv2d
from acu_core.nn.convolution_unit import Unit
from acu_core.nn.networks import build_network
from acu_core.nn.parameter_count import parameter_count
from acu_core.nn.plain_network import Plain
from acu_core.nn.residual_network import Residual

UNITS: list[Unit] = ["acu", "convolution"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("last_kernel", "count", "printed"), [(3, 855_162, 0.82), (5, 1_739_898, 1.66)])
def test_the_plain_network_has_the_papers_parameters(unit: Unit, last_kernel: int, count: int, printed: float) -> None:
    model = build_network("plain", in_channels=3, classes=10, unit=unit, last_kernel=last_kernel)
    moving = 4 * 8 * 2 + 2 * (last_kernel**2 - 1) * 2 if unit == "acu" else 0
    assert parameter_count(model) == count + moving
    assert round(parameter_count(model) / 2**20, 2) == printed
    names = [f"conv{stage}_{place}" for stage in (1, 2, 3) for place in (1, 2)]
    assert list(active_layers(model)) == (names if unit == "acu" else [])
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    decayed = [m for m in model.modules() if isinstance(m, nn.Conv2d | ActiveConv2d)]
    assert [m.bias is None for m in decayed] == [True] * 8 + [False]


def test_the_variants_of_the_plain_network() -> None:
    def made(**options: int) -> nn.Module:
        return build_network("plain", in_channels=3, classes=10, **options)

    kept = made(first_active_stage=2)
    assert list(active_layers(kept)) == ["conv2_1", "conv2_2", "conv3_1", "conv3_2"]
    assert type(kept.conv1_1) is type(kept.conv1_2) is nn.Conv2d
    dilated = build_network("plain", in_channels=3, classes=10, unit="convolution", last_dilation=2)
    dilations = {name: m.dilation[0] for name, m in dilated.named_modules() if isinstance(m, nn.Conv2d)}
    assert [name for name, dilation in dilations.items() if dilation == 2] == ["conv3_1", "conv3_2"]
    assert parameter_count(dilated) == 855_162
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for model in (kept, made(last_kernel=5), made(last_dilation=2), dilated):
            features = nn.Sequential(*list(model.children())[:-5])(image)
            assert features.shape == (2, 192, 8, 8)


@pytest.mark.parametrize(
    ("width", "channels"), [(0.5, [8, 24, 24, 48, 48, 96, 96, 500]), (2, [32, 96, 96, 192, 192, 384, 384, 2000])]
)
def test_the_width_of_the_plain_network(width: float, channels: list[int]) -> None:
    model = build_network("plain", in_channels=1, classes=10, width=width)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | ActiveConv2d)]
    assert [layer.out_channels for layer in layers] == [*channels, 10]
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)


def test_random_shapes_of_the_plain_network() -> None:
    def shapes(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        model = build_network("plain", in_channels=3, classes=10, width=0.25, shape="random")
        return [layer.positions.detach() for layer in active_layers(model).values()]

    drawn = shapes(0)
    assert all(torch.equal(first, second) for first, second in zip(drawn, shapes(0), strict=True))
    different = {tuple(positions.flatten().tolist()) for positions in [*drawn, *shapes(1)]}
    assert len(different) == 12, "each layer and each seed its own"
    assert all(positions.abs().max() <= 1.5 and not positions[:, 4].any() for positions in drawn)
    assert max(float((positions - positions.round()).abs().max()) for positions in drawn) > 0.3
    with pytest.raises(ValueError, match=r"options\.shape: needs network.unit = acu"):
        build_network("plain", in_channels=3, classes=10, unit="convolution", shape="random")


# Every network, with options and an image that keep it small, and how many units it has.
SMALL: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "plain": ("plain", {}, 32, 6),
    "base-f5": ("plain", {"last_kernel": 5}, 32, 6),
    "base-d2": ("plain", {"last_dilation": 2}, 32, 6),
    "c23": ("plain", {"first_active_stage": 2}, 32, 4),
    "residual": ("residual", {"blocks": 2}, 16, 13),
    "alexnet": ("alexnet", {"hidden": 16}, 67, 4),
    "resnet26": ("resnet26", {}, 33, 8),
}


def both(key: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """The base and the ACU network of the same seed in evaluation mode, and two images."""
    name, options, size, _ = SMALL[key]
    torch.manual_seed(3)
    base = build_network(name, in_channels=3, classes=10, unit="convolution", **options).eval()
    torch.manual_seed(3)
    active = build_network(name, in_channels=3, classes=10, unit="acu", **options).eval()
    return base, active, torch.randn(2, 3, size, size)


@pytest.mark.parametrize("key", SMALL)
def test_acu_and_convolution_start_as_the_same_network(key: str) -> None:
    base, active, images = both(key)
    layers = active_layers(active)
    assert len(layers) == SMALL[key][3]
    assert not active_layers(base)
    moving = sum(2 * (layer.synapses - 1) for layer in layers.values())
    assert parameter_count(active) == parameter_count(base) + moving
    assert parameter_count(copy.deepcopy(active).requires_grad_(False)) == parameter_count(active)
    with torch.no_grad():
        logits = base(images)
        assert logits.shape == (2, 10)
        assert relative_error(active(images), logits) < 1e-5


@pytest.mark.parametrize("key", SMALL)
def test_states_and_networks_go_both_ways(key: str) -> None:
    base, active, images = both(key)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(1.01)
        expected = base(images)
        # The weights of a base are loaded by its ACU network, on the grid.
        positions = [f"{name}.positions" for name in active_layers(active)]
        active.load_state_dict(base.state_dict())
        assert sorted(set(active.state_dict()) - set(base.state_dict())) == sorted(positions)
        assert relative_error(active(images), expected) < 1e-5
        for layer in active_layers(active).values():
            layer.positions += 0.3 * torch.randn_like(layer.positions)
        moved = active(images)
        assert relative_error(moved, expected) > 1e-3
        left = to_conv2d(active)
        assert not active_layers(left)
        assert relative_error(left(images), moved) < 1e-5


@pytest.mark.parametrize("key", [key for key in SMALL if SMALL[key][0] != "plain"])
def test_every_parameter_learns(key: str) -> None:
    _, active, images = both(key)
    active.train()
    active(images).logsumexp(1).sum().backward()
    # Of the dropped outputs some weights have no gradient, but a parameter as a whole has.
    assert [name for name, parameter in active.named_parameters() if parameter.grad is None] == []
    for name, layer in active_layers(active).items():
        assert layer.positions.grad is not None
        assert layer.positions.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("name", "classes", "count", "first", "units"),
    [
        # He et al.'s table 6 says 0.46M for 32 layers.
        ("residual", 10, 464_154, ["conv0", "block1_1.body.conv1"], 31),
        ("alexnet", 1000, 61_100_840, ["conv2", "conv3", "conv4", "conv5"], 4),
        ("resnet26", 1000, 15_995_176, ["block1_1.body.conv2", "block1_2.body.conv2"], 8),
    ],
)
def test_the_other_networks_have_the_parameters_of_their_sources(
    name: str, classes: int, count: int, first: list[str], units: int
) -> None:
    with torch.device("meta"):
        base = build_network(name, in_channels=3, classes=classes, unit="convolution")
        active = build_network(name, in_channels=3, classes=classes, unit="acu")
    assert parameter_count(base) == count
    layers = active_layers(active)
    assert list(layers)[: len(first)] == first
    assert len(layers) == units
    assert {layer.kernel_size[0] for layer in layers.values()} <= {3, 5}


@pytest.mark.parametrize("key", ["alexnet", "resnet26"])
def test_the_places_networks_compute_what_torchvisions_do(key: str) -> None:
    base, _, images = both(key)
    if key == "alexnet":
        other = models.alexnet(num_classes=10)
        other.classifier[1] = nn.Linear(9216, 16)
        other.classifier[4], other.classifier[6] = nn.Linear(16, 16), nn.Linear(16, 10)
    else:
        other = models.ResNet(models.resnet.Bottleneck, [2, 2, 2, 2], num_classes=10)
        for stage in (other.layer2, other.layer3, other.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    ours, theirs = base.state_dict(), other.state_dict()
    assert len(ours) == len(theirs)
    pairs = zip(theirs.items(), ours.values(), strict=True)
    other.load_state_dict({name: value.reshape(old.shape) for (name, old), value in pairs})
    with torch.no_grad():
        assert relative_error(base(images), other.eval()(images)) < 1e-5


def test_the_residual_network_pads_its_shortcuts() -> None:
    torch.manual_seed(0)
    model = build_network("residual", in_channels=3, classes=10, blocks=1).eval()
    block = model.get_submodule("block2_1")
    images = torch.rand(2, 16, 7, 7)
    nn.init.zeros_(block.get_parameter("body.norm2.weight"))
    expected = torch.cat((images[:, :, ::2, ::2], torch.zeros(2, 16, 4, 4)), dim=1)
    assert torch.equal(block(images), expected)


def test_dropout_is_drawn_from_the_seed() -> None:
    model = build_network("alexnet", in_channels=3, classes=10, hidden=64).train()
    images = torch.randn(2, 3, 63, 63)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            drawn.append(model(images))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    never = build_network("alexnet", in_channels=3, classes=10, hidden=64, dropout=0.0).train()
    with torch.no_grad():
        assert torch.equal(never(images), never(images))


@pytest.mark.parametrize("unit", ["acu", "convolution"])
def test_the_planted_network_sees_around_the_centre_pixel(unit: str) -> None:
    model = build_network("planted", in_channels=2, classes=8, unit=unit).eval()
    image = torch.randn(3, 2, 17, 17)
    before = model(image)
    assert before.shape == (3, 8)
    image[:, :, 7:10, 7:10] += 1
    assert not torch.equal(model(image), before)
    seen = model(image)
    image[:, :, :7] += 1
    assert torch.equal(model(image), seen)


def test_a_whole_network_leaves_and_returns() -> None:
    torch.manual_seed(0)
    model = build_network("plain", in_channels=3, classes=10).eval()
    for layer in active_layers(model).values():
        layer.positions.data += 0.5 * torch.randn_like(layer.positions)
    image = torch.randn(2, 3, 32, 32)
    left = to_conv2d(model)
    assert not active_layers(left)
    assert active_layers(model)
    assert relative_error(left(image), model(image)) < 1e-5
    returned = from_conv2d(left)
    assert len(active_layers(returned)) == 6
    assert relative_error(returned(image), model(image)) < 1e-5
    assert isinstance(to_conv2d(ActiveConv2d(1, 1, 3)), nn.Conv2d)


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError,
        match="there is no network 'zzz'; known: plain, residual, alexnet, resnet26, planted, torchvision:NAME, "
        r"timm:NAME$",
    ):
        build_network("zzz", in_channels=3, classes=10)
    with pytest.raises(ValueError, match=r"there is no network 'plai'; did you mean plain\?$"):
        build_network("plai", in_channels=3, classes=10)
    with pytest.raises(ValueError, match="unit: should be 'acu' or 'convolution', got 'dense'"):
        build_network("plain", in_channels=3, classes=10, unit="dense")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plain", {"kernel": 5}, "kernel: unknown key; did you mean options.last_kernel?"),
        ("plain", {"colour": 5}, "colour: unknown key; there are last_kernel, last_dilation, first_active_stage"),
        ("plain", {"last_kernel": 4}, "last_kernel: should be odd, got 4"),
        ("plain", {"last_kernel": 5.0}, "last_kernel: should be a valid integer, got 5.0"),
        ("plain", {"last_dilation": 0}, "last_dilation: should be greater than or equal to 1, got 0"),
        ("plain", {"last_dilation": True}, "last_dilation: should be a valid integer, got true"),
        ("residual", {"blocks": 0}, "blocks: should be greater than or equal to 1, got 0"),
        ("residual", {"blocks": 10**10}, "blocks: should be less than or equal to 200, got 10000000000"),
        ("alexnet", {"dropout": 1.0}, "dropout: should be less than 1, got 1.0"),
        ("alexnet", {"hidden": "wide"}, "hidden: should be a valid integer, got 'wide'"),
        ("resnet26", {"blocks": 2}, "blocks: unknown key; options has none"),
        ("planted", {"width": 10**10}, "width: should be less than or equal to 65536, got 10000000000"),
        ("plain", {"first_active_stage": 4}, "first_active_stage: should be less than or equal to 3, got 4"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'the network {name} cannot be used: options.{message}')}$"):
        build_network(name, in_channels=3, classes=10, **options)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (Plain, {"last_kernel": 4}),
        (Plain, {"last_kernel": 1}),
        (Plain, {"first_active_stage": 4}),
        (Plain, {"shape": None}),
        (Residual, {"blocks": 0}),
        (AlexNet, {"dropout": 1.0}),
    ],
)
def test_no_class_builds_another_network_than_was_meant(network: type[nn.Module], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        network(3, 10, "acu", **options)


def test_a_module_that_is_used_twice_stays_one() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    active = from_conv2d(model)
    assert isinstance(active[0], ActiveConv2d)
    assert active[0] is active[2]
    left = to_conv2d(active)
    assert type(left[0]) is nn.Conv2d
    assert left[0] is left[2]
    image = torch.randn(1, 3, 6, 6)
    assert relative_error(left(image), model(image)) < 1e-5
