from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from oracles import relative_error
from torch import nn

from acu_core.nn import (
    ActiveConv2d,
    active_layers,
    build_network,
    from_conv2d,
    parameter_count,
    set_corrected_average,
    to_conv2d,
)
from acu_core.nn.convolution_unit import Unit

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


def test_acu_and_convolution_start_as_the_same_network() -> None:
    torch.manual_seed(3)
    plain = build_network("plain", in_channels=3, classes=10, unit="convolution").eval()
    torch.manual_seed(3)
    active = build_network("plain", in_channels=3, classes=10, unit="acu").eval()
    image = torch.randn(2, 3, 32, 32)
    assert relative_error(active(image), plain(image)) < 1e-5


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
    with pytest.raises(ValueError, match="there is no network 'plane'; there are plain, planted"):
        build_network("plane", in_channels=3, classes=10)
    with pytest.raises(ValueError, match="unit must be 'acu' or 'convolution', not 'dense'"):
        build_network("plain", in_channels=3, classes=10, unit="dense")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "plain",
            {"kernel": 5},
            "the network plain has no option 'kernel'; it has last_kernel, last_dilation, first_active_stage",
        ),
        ("plain", {"last_kernel": 4}, "last_kernel must be an odd number of at least 3, not 4"),
        ("plain", {"last_kernel": 5.0}, "last_kernel must be an odd number of at least 3, not 5.0"),
        ("plain", {"last_dilation": 0}, "last_dilation must be a whole number of at least 1, not 0"),
        ("plain", {"last_dilation": True}, "last_dilation must be a whole number of at least 1, not True"),
        ("plain", {"first_active_stage": 4}, "first_active_stage must be a whole number from 1 to 3, not 4"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_network(name, in_channels=3, classes=10, **options)


def test_the_corrected_average_is_caffes() -> None:
    norm = nn.BatchNorm2d(2)
    generator = torch.Generator().manual_seed(0)
    weighted, weight = torch.zeros(2), 0.0
    for iteration in range(1, 6):
        batch = 3 + torch.randn(4, 2, 3, 3, generator=generator)
        set_corrected_average(norm, iteration)
        norm(batch)
        weighted = 0.999 * weighted + batch.mean(dim=(0, 2, 3))
        weight = 0.999 * weight + 1
    torch.testing.assert_close(norm.running_mean, weighted / weight, rtol=1e-4, atol=1e-5)


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
