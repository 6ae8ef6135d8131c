from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acu_core.data.batches import batch_indices
from acu_core.errors import UserError


@given(count=st.integers(1, 60), batch_size=st.integers(1, 150), seed=st.integers(0, 2**63), epochs=st.integers(1, 3))
def test_every_epoch_is_a_permutation_across_the_borders_of_batches(
    count: int, batch_size: int, seed: int, epochs: int
) -> None:
    iterations = -(-count * epochs // batch_size)
    stream = torch.cat(
        [batch_indices(count, batch_size, seed=seed, iteration=iteration + 1) for iteration in range(iterations)]
    )
    assert stream.shape == (iterations * batch_size,)
    assert stream.dtype == torch.int64
    for epoch in range(epochs):
        order = stream[epoch * count : (epoch + 1) * count]
        assert order.sort().values.tolist() == list(range(count))


def test_is_a_pure_function_of_seed_and_iteration() -> None:
    forward = [batch_indices(1000, 64, seed=5, iteration=iteration) for iteration in range(1, 40)]
    backward = [batch_indices(1000, 64, seed=5, iteration=iteration) for iteration in range(39, 0, -1)]
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first = batch_indices(1000, 1000, seed=0, iteration=1)
    assert not torch.equal(first, batch_indices(1000, 1000, seed=0, iteration=2))
    assert not torch.equal(first, batch_indices(1000, 1000, seed=1, iteration=1))


def test_the_caller_may_write_to_the_batch() -> None:
    expected = batch_indices(10, 10, seed=0, iteration=1).clone()
    batch_indices(10, 10, seed=0, iteration=1).zero_()
    assert torch.equal(batch_indices(10, 10, seed=0, iteration=1), expected)


@pytest.mark.parametrize(("count", "batch_size", "iteration"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_impossible_batches_are_refused(count: int, batch_size: int, iteration: int) -> None:
    with pytest.raises(UserError, match="batches need"):
        batch_indices(count, batch_size, seed=0, iteration=iteration)
