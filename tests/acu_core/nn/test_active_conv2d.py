from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from oracles import relative_error
from torch import nn

from acu_core import ActiveConv2d


def configurations() -> list[dict]:
    kernels = [1, 2, 3, 4, 5, (2, 3), (3, 1), (5, 4)]
    paddings: list = [0, 1, 3, (2, 1), "same", "valid"]
    every = itertools.product(kernels, paddings, (1, 2, (1, 3)), (1, 2, (3, 2)), (1, 2))
    return [
        {"kernel_size": k, "padding": p, "dilation": d, "stride": s, "groups": g}
        for k, p, d, s, g in every
        if not (p == "same" and s != 1)
    ]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # of Conv2d, about its own copy
def test_a_drop_in_for_every_conv2d() -> None:
    generator = torch.Generator().manual_seed(0)
    compared = 0
    for options, height in itertools.product(configurations(), (9, 10)):
        conv = nn.Conv2d(2, 4, dtype=torch.float64, **options)
        image = torch.randn(2, 2, height, 11, generator=generator, dtype=torch.float64)
        try:
            expected = conv(image)
        except RuntimeError:  # the kernel is larger than the image
            with pytest.raises(ValueError, match="too small"):
                ActiveConv2d.from_conv2d(conv)(image)
            continue
        layer = ActiveConv2d.from_conv2d(conv)
        assert relative_error(layer(image), expected) < 1e-12, options
        assert relative_error(layer.to_conv2d()(image), expected) < 1e-12, options
        compared += 1
    assert compared > 400


@pytest.mark.parametrize("position_groups", [1, 2])
@pytest.mark.parametrize("options", configurations()[::37])
def test_back_to_conv2d_is_exact_wherever_the_synapses_are(options: dict, position_groups: int) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = ActiveConv2d(2, 4, dtype=torch.float64, position_groups=position_groups, **options)
    layer.positions.data += 2 * torch.randn(layer.positions.shape, generator=generator, dtype=torch.float64)
    image = torch.randn(2, 2, 20, 21, generator=generator, dtype=torch.float64)
    conv = layer.to_conv2d()
    assert type(conv) is nn.Conv2d
    assert relative_error(conv(image), layer(image)) < 1e-12


def test_a_synapse_too_far_for_a_window_is_refused() -> None:
    layer = ActiveConv2d(1, 1, 3)
    layer.positions.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"window of .* a synapse is too far out"):
        layer.to_conv2d()


def test_conversion_to_conv2d_takes_the_smallest_window() -> None:
    assert ActiveConv2d(1, 1, 3, padding=1).to_conv2d().kernel_size == (3, 3)
    layer = ActiveConv2d(1, 1, 3, padding=1)
    layer.positions.data[0, 0, 0] = -1.5
    conv = layer.to_conv2d()
    assert conv.kernel_size == (5, 3)  # the padding must be the same above and below
    assert conv.padding == (2, 1)


def test_other_paddings_and_transposed_convolutions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"padding_mode must be 'zeros'.*'reflect'"):
        ActiveConv2d(1, 1, 3, padding_mode="reflect")
    with pytest.raises(ValueError, match=r"padding_mode must be 'zeros'.*'circular'"):
        ActiveConv2d.from_conv2d(nn.Conv2d(1, 1, 3, padding_mode="circular"))
    with pytest.raises(ValueError, match="not a ConvTranspose2d"):
        ActiveConv2d.from_conv2d(nn.ConvTranspose2d(1, 1, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be an int or two ints of at least 1, not 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size"),
        ({"kernel_size": 3.0}, "kernel_size must be an int or two ints of at least 1, not 3.0"),
        ({"stride": None}, "stride must be an int or two ints of at least 1, not None"),
        ({"shape": [[0, 0]] * 9}, "shape must be square"),
        ({"stride": 0}, "stride"),
        ({"dilation": 0}, "dilation"),
        ({"padding": "full"}, "padding must be ints, 'same' or 'valid', not 'full'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"groups": 3}, "groups = 3 must divide"),
        ({"position_groups": 4}, "position_groups = 4 must divide out_channels = 6"),
        ({"shape": "star"}, "shape must be square, circle, random or a tensor"),
        ({"shape": torch.zeros(8, 2)}, r"shape must hold \(1, 9, 2\) positions, not \(8, 2\)"),
        ({"shape": torch.full((9, 2), torch.nan)}, "must hold finite positions"),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActiveConv2d(**({"in_channels": 4, "out_channels": 6, "kernel_size": 3} | options))


def test_initial_shapes() -> None:
    square = ActiveConv2d(1, 2, 3, dilation=(2, 1)).positions
    assert square[0, 0].tolist() == [-2, -1]
    assert square[0, 4].tolist() == [0, 0]
    assert square[0, 5].tolist() == [0, 1]
    circle = ActiveConv2d(1, 2, 5, shape="circle").positions[0]
    rings = {round(r, 4) for r in circle.norm(dim=1).tolist()}
    assert rings == {0.0, 1.0, 2.0}
    torch.manual_seed(0)
    layer = ActiveConv2d(1, 2, 3, shape="random", position_groups=2)
    assert not torch.equal(layer.positions[0], layer.positions[1])
    assert layer.positions.abs().max() <= 1.5
    given = torch.arange(18.0).reshape(9, 2)
    assert torch.equal(ActiveConv2d(1, 2, 3, shape=given, position_groups=2).positions[1], given)


@pytest.mark.parametrize("fix_centre", [True, False])
@pytest.mark.parametrize("kernel_size", [3, 2, (5, 4)])
def test_the_centre_stays_unless_asked(fix_centre: bool, kernel_size: int | tuple[int, int]) -> None:
    layer = ActiveConv2d(2, 3, kernel_size, fix_centre=fix_centre)
    layer(torch.randn(2, 2, 9, 9)).square().sum().backward()
    assert layer.positions.grad is not None
    moves = layer.positions.grad[0].norm(dim=1) > 0
    rows, columns = layer.kernel_size
    centre = rows // 2 * columns + columns // 2
    assert bool(moves[centre]) != fix_centre
    assert layer.positions[0, centre].tolist() == [0, 0]
    assert moves[torch.arange(layer.synapses) != centre].all()


def test_round() -> None:
    layer = ActiveConv2d(1, 1, 3)
    layer.positions.data += 0.4
    assert torch.equal(layer.round_().positions, ActiveConv2d(1, 1, 3).positions)


def test_images_without_a_batch() -> None:
    layer = ActiveConv2d(2, 3, 3, padding=1)
    image = torch.randn(2, 5, 6)
    assert torch.equal(layer(image), layer(image[None])[0])


def test_state_dicts_copies_and_pickles_survive() -> None:
    layer = ActiveConv2d(2, 4, 3, position_groups=2, shape="circle")
    layer.positions.data += 0.25
    image = torch.randn(2, 2, 6, 6)
    other = ActiveConv2d(2, 4, 3, position_groups=2)
    assert set(layer.state_dict()) == {"weight", "bias", "positions"}
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(image), layer(image))


def test_a_state_dict_of_conv2d_loads() -> None:
    conv = nn.Conv2d(2, 4, (3, 5), padding=2)
    network = nn.Sequential(ActiveConv2d(2, 4, (3, 5), padding=2))
    state = nn.Sequential(conv).state_dict()
    network.load_state_dict(state)
    assert state["0.weight"].dim() == 4
    image = torch.randn(2, 2, 6, 6)
    assert relative_error(network(image), conv(image)) < 1e-6
    with pytest.raises(RuntimeError, match="size mismatch"):
        ActiveConv2d(2, 4, 3).load_state_dict(conv.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_positions_keep_their_precision_in_16_bits(dtype: torch.dtype) -> None:
    layer = ActiveConv2d(2, 4, 3)
    layer.positions.data += 0.123456789
    before = layer.positions.detach().clone()
    layer(torch.randn(1, 2, 5, 5)).sum().backward()
    layer.to(dtype)
    assert layer.weight.dtype == dtype
    assert layer.positions.dtype == torch.float32
    assert layer.positions.grad is not None
    assert layer.positions.grad.dtype == torch.float32
    assert torch.equal(layer.positions, before)
    assert layer(torch.randn(1, 2, 5, 5, dtype=dtype)).dtype == dtype
    assert layer.double().positions.dtype == torch.float64


def test_the_reference_device_of_the_layer() -> None:
    assert ActiveConv2d(2, 4, 3, device="meta")(torch.empty(3, 2, 6, 6, device="meta")).shape == (3, 4, 4, 4)


def test_it_shows_its_arguments() -> None:
    text = repr(ActiveConv2d(2, 4, 3, padding=1, bias=False, position_groups=2))
    assert text == (
        "ActiveConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), position_groups=2, bias=False)"
    )


def test_a_state_dict_of_conv2d_puts_the_synapses_back_on_its_grid() -> None:
    conv = nn.Conv2d(2, 4, 3, dilation=2)
    layer = ActiveConv2d(2, 4, 3, dilation=2, shape="circle", position_groups=2)
    layer.positions.data += 0.5
    layer.load_state_dict(conv.state_dict())
    image = torch.randn(2, 2, 9, 9)
    assert relative_error(layer(image), conv(image)) < 1e-6


@pytest.mark.parametrize("trained", [True, False])
def test_what_is_frozen_stays_frozen(trained: bool) -> None:
    conv = nn.Conv2d(2, 4, 3).requires_grad_(trained)
    layer = ActiveConv2d.from_conv2d(conv)
    assert {p.requires_grad for p in layer.parameters()} == {trained}
    assert {p.requires_grad for p in layer.to_conv2d().parameters()} == {trained}


def test_a_convolution_that_computes_something_else_is_refused() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * 2

    with pytest.raises(ValueError, match="only a plain Conv2d can become an ActiveConv2d, not a Standardised"):
        ActiveConv2d.from_conv2d(Standardised(1, 1, 3))
    with pytest.raises(ValueError, match="not a parametrized"):
        ActiveConv2d.from_conv2d(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 1, 3)))


def test_every_precision_after_every_other() -> None:
    layer = ActiveConv2d(2, 4, 3).double().half()
    assert layer.positions.dtype == torch.float32
    assert layer(torch.randn(1, 2, 5, 5, dtype=torch.float16)).dtype == torch.float16


def test_materialised_from_the_meta_device() -> None:
    source = ActiveConv2d(2, 4, 3, shape="circle")
    image = torch.randn(1, 2, 5, 5)
    loaded = ActiveConv2d(2, 4, 3, device="meta")
    loaded.load_state_dict(source.state_dict(), assign=True)
    assert torch.equal(loaded(image), source(image))
    emptied = ActiveConv2d(2, 4, 3, shape="circle", device="meta").to_empty(device="cpu")
    emptied.reset_parameters()
    assert torch.equal(emptied.positions, source.positions)


def test_images_of_another_dimension_are_shown_as_given() -> None:
    with pytest.raises(ValueError, match=r"input must be \(N, C, H, W\), not \(2, 2, 4, 5, 5\)"):
        ActiveConv2d(2, 4, 3)(torch.zeros(2, 2, 4, 5, 5))
