from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acu_core.report.thinning import thin

TOLERANCE = 0.007
STEP = 1 / 128


def worst(series: np.ndarray, tolerance: float = TOLERANCE, step: float = STEP) -> float:
    knots = thin(series, tolerance, step)
    moments = np.arange(series.shape[1])
    for found in knots:
        assert found.moments[0] == 0
        assert found.moments[-1] == series.shape[1] - 1
        assert (np.diff(found.moments) > 0).all()
    return max(float(np.abs(found.at(moments, step) - one).max()) for found, one in zip(knots, series, strict=True))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.one_of(st.integers(1, 40), st.integers(2040, 2060), st.integers(4090, 4105)),
    scale=st.sampled_from([0.0, 1e-4, 0.003, 0.05, 20.0]),
    jumps=st.booleans(),
)
def test_no_moment_is_off_by_more_than_the_tolerance(seed: int, length: int, scale: float, jumps: bool) -> None:
    generator = np.random.default_rng(seed)
    steps = generator.normal(0, scale, (3, length))
    series = steps if jumps else np.cumsum(steps, axis=1)
    assert worst(series) <= TOLERANCE * (1 + 1e-9)


def test_what_rests_and_what_moves_evenly_costs_two_knots() -> None:
    moments = np.arange(5000)
    series = np.stack([np.full(5000, 1.0), moments / 128, np.where(moments < 3000, 0.0, (moments - 3000) / 128)])
    assert [len(found.moments) for found in thin(series, TOLERANCE, STEP)] == [2, 2, 3]


def test_a_series_that_jitters_below_the_tolerance_rests() -> None:
    series = 1 + np.random.default_rng(0).uniform(-0.004, 0.004, (1, 5000))
    (found,) = thin(series, TOLERANCE, STEP)
    assert len(found.moments) <= 2 * 3
    assert worst(series) <= TOLERANCE


@pytest.mark.parametrize("length", [1, 2])
def test_the_shortest_series(length: int) -> None:
    (found,) = thin(np.full((1, length), 0.5), TOLERANCE, STEP)
    assert found.moments.tolist() == list(range(length))
    assert found.at(np.arange(length), STEP).tolist() == [0.5] * length
