from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from oracles import gather, products, relative_error

from acu_core.op.paddings import Paddings


def test_the_gather_oracle_is_an_ordinary_convolution_on_the_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 6, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, 9, generator=generator, dtype=torch.float64)
    grid = torch.tensor([[[y, x] for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)]], dtype=torch.float64)
    expected = F.conv2d(image, weight.unflatten(2, (3, 3)), stride=2, padding=1)
    assert relative_error(gather(image, weight, grid, (2, 2), Paddings(0, 0, 0, 0)), expected) < 1e-12


def test_the_comparator_sees_what_it_must() -> None:
    one = torch.ones(3)
    assert relative_error(one, one) == 0
    assert relative_error(one, torch.ones(4)) == math.inf
    assert relative_error(torch.tensor([1.0, math.nan, 1.0]), one) == math.inf
    assert 0.9e-3 < relative_error(one * 1.001, one) < 1.1e-3


def test_products_count_every_corner_whole() -> None:
    image = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]])
    weight, bias = torch.tensor([[[-0.5]], [[2.0]]]), torch.tensor([-1.0, 3.0])
    grad_output = torch.tensor([[[[1.0]], [[-1.0]]]])
    paddings = Paddings(top=0, bottom=-1, left=0, right=-1)
    position = torch.tensor([[[0.25, 0.999]]])
    found = products(image, weight, position, bias, grad_output, (1, 1), paddings, 1)
    assert found.output.flatten().tolist() == [0.5 * 10 + 1, 2 * 10 + 3]
    assert torch.equal(found.input, torch.full((1, 1, 2, 2), 2.5, dtype=torch.float64))
    assert found.weight.flatten().tolist() == [10, 10]
    assert found.positions.flatten().tolist() == [25, 25]
    assert found.bias.tolist() == [1, 1]
