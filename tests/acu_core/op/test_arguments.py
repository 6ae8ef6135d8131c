"""Wrong arguments give one clear error that names the argument and its shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from acu_core.op.arguments import four_paddings
from acu_core.op.functional import active_conv2d
from acu_core.op.paddings import Paddings
from acu_core.op.reference import active_conv2d_reference

GOOD: dict[str, Any] = {
    "input": torch.zeros(2, 4, 5, 6),
    "weight": torch.zeros(6, 4, 9),
    "positions": torch.zeros(1, 9, 2),
    "bias": torch.zeros(6),
}
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"input": torch.zeros(4, 5, 6)}, ValueError, r"input must be \(N, C, H, W\), not \(4, 5, 6\)"),
    ({"input": torch.zeros(2, 4, 0, 6)}, ValueError, r"input \(2, 4, 0, 6\) has no pixels"),
    ({"input": torch.zeros(2, 4, 5, 6, dtype=torch.int32)}, TypeError, r"input \(2, 4, 5, 6\) must be float16"),
    ({"weight": torch.zeros(6, 4, 3, 3)}, ValueError, r"weight must be \(O, C/groups, K\), not \(6, 4, 3, 3\)"),
    ({"weight": torch.zeros(6, 5, 9)}, ValueError, r"weight \(6, 5, 9\) must have 4 input channels"),
    ({"weight": torch.zeros(6, 4, 0)}, ValueError, r"weight \(6, 4, 0\) is empty"),
    ({"weight": torch.zeros(6, 4, 9).double()}, TypeError, r"weight \(6, 4, 9\) must have the dtype of input"),
    ({"positions": torch.zeros(9, 2)}, ValueError, r"positions must be \(G, K, 2\), not \(9, 2\)"),
    ({"positions": torch.zeros(1, 8, 2)}, ValueError, r"positions \(1, 8, 2\) must have the 9 synapses"),
    ({"positions": torch.zeros(4, 9, 2)}, ValueError, r"position groups of positions \(4, 9, 2\) must divide the 6"),
    ({"positions": torch.zeros(1, 9, 2).half()}, TypeError, r"positions \(1, 9, 2\) must be float32"),
    ({"positions": torch.zeros(1, 9, 2).double()}, TypeError, r"positions \(1, 9, 2\) must be float32"),
    ({"positions": torch.zeros(1, 9, 2, device="meta")}, ValueError, r"positions \(1, 9, 2\) must be on cpu"),
    ({"bias": torch.zeros(5)}, ValueError, r"bias must be \(6,\), not \(5\)"),
    ({"bias": torch.zeros(6).double()}, TypeError, r"bias \(6\) must have the dtype of input"),
    ({"groups": 4}, ValueError, r"groups = 4 must divide the 4 channels of input \(2, 4, 5, 6\) and the 6"),
    ({"groups": 0}, ValueError, "groups = 0"),
    ({"stride": 0}, ValueError, "stride must be positive, not 0"),
    ({"stride": (1, 2, 3)}, ValueError, r"stride must be an int or 2 ints, not \(1, 2, 3\)"),
    ({"padding": (1, 2, 3)}, ValueError, r"padding must be an int or 2 or 4 ints"),
    ({"padding": 0.5}, ValueError, "padding must be an int"),
    ({"padding": -3}, ValueError, r"input \(2, 4, 5, 6\) is too small: .* the output would be -1 x 0"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
@pytest.mark.parametrize("operator", [active_conv2d, active_conv2d_reference])
def test_wrong_arguments(change: dict[str, Any], error: type[Exception], message: str, operator: Any) -> None:
    with pytest.raises(error, match=message):
        operator(**(GOOD | change))


def test_the_output_size_is_a_true_floor() -> None:
    arguments = GOOD | {"stride": 2, "padding": (-2, -3, -3, -2)}
    with pytest.raises(ValueError, match="the output would be 0 x 1"):  # (5 - 5 - 1) / 2 truncated would be 0, so 1
        active_conv2d(**arguments)


def test_the_kernel_checks_again_what_memory_safety_needs() -> None:
    raw = torch.ops.acu.active_conv2d
    settings = ((1, 1), Paddings(0, 0, 0, 0), 1, False)
    for change in (
        {"weight": torch.zeros(6, 5, 9)},
        {"weight": torch.zeros(6, 4, 9).double()},
        {"positions": torch.zeros(1, 8, 2)},
        {"positions": torch.zeros(4, 9, 2)},
        {"bias": torch.zeros(5)},
    ):
        good = GOOD | change
        with pytest.raises(RuntimeError, match="active_conv2d"):
            raw(good["input"], good["weight"], good["positions"], good["bias"], *settings)


@pytest.mark.parametrize(
    ("stride", "padding", "message"),
    [
        ((1,), (0, 0, 0, 0), r"stride must be \(h, w\), not 1 numbers"),
        ((1, 1, 1), (0, 0, 0, 0), r"stride must be \(h, w\), not 3 numbers"),
        ((1, 1), (), r"padding must be \(top, bottom, left, right\), not 0 numbers"),
        ((1, 1), (0, 0), r"padding must be \(top, bottom, left, right\), not 2 numbers"),
    ],
)
def test_the_kernel_checks_the_lengths_of_lists(
    stride: tuple[int, ...], padding: tuple[int, ...], message: str
) -> None:
    arguments = (stride, padding, 1, False)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.acu.active_conv2d(GOOD["input"], GOOD["weight"], GOOD["positions"], GOOD["bias"], *arguments)
    output = torch.zeros(2, 6, 5, 6)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.acu.active_conv2d_backward(
            output, GOOD["input"], GOOD["weight"], GOOD["positions"], *arguments, True, True, True, True
        )


@pytest.mark.parametrize("operator", [active_conv2d, active_conv2d_reference])
@pytest.mark.parametrize("side", Paddings._fields)
def test_each_padding_is_on_its_side(side: str, operator: Any) -> None:
    image = torch.arange(1.0, 31.0).reshape(1, 1, 5, 6)
    paddings = Paddings(0, 0, 0, 0)._replace(**{side: 2})
    output = operator(image, torch.ones(1, 1, 1), torch.zeros(1, 1, 2), padding=paddings)
    expected = torch.nn.functional.pad(image, (paddings.left, paddings.right, paddings.top, paddings.bottom))
    assert torch.equal(output, expected)


def test_one_and_two_paddings_are_named() -> None:
    assert four_paddings(3) == Paddings(top=3, bottom=3, left=3, right=3)
    assert four_paddings((1, -2)) == Paddings(top=1, bottom=1, left=-2, right=-2)
    assert four_paddings((1, 2, 3, 4)) == Paddings(top=1, bottom=2, left=3, right=4)


def test_the_schema_has_lists_in_the_order_of_the_names() -> None:
    for name in ("active_conv2d", "active_conv2d_backward"):
        schema = str(getattr(torch.ops.acu, name).default._schema)
        assert "int[] stride, int[] padding, int groups" in schema
