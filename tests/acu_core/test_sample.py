from __future__ import annotations

import pytest

from acu_core.sample import Sample


def test_mean_and_spread() -> None:
    # By hand: the squares around 4 are 4, 0, 4, their sum over n - 1 = 2 is 4.
    sample = Sample.of([2.0, 4.0, 6.0])
    assert (sample.n, sample.mean, sample.spread) == (3, 4.0, 2.0)


@pytest.mark.parametrize(("values", "mean"), [([], None), ([3.0], 3.0)])
def test_too_few_for_a_spread(values: list[float], mean: float | None) -> None:
    sample = Sample.of(values)
    assert (sample.n, sample.mean, sample.spread) == (len(values), mean, None)
