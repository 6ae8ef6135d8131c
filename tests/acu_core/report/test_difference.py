from __future__ import annotations

import pytest

from acu_core.report.difference import PAIRED, WELCH, Difference


def between(first: dict[int, float], second: dict[int, float]) -> Difference:
    found = Difference.between(first, second)
    assert found is not None
    return found


def test_paired_by_hand_with_0_inside() -> None:
    # Differences -1, -2, -1: mean -4/3, deviation sqrt(1/3), error of the mean 1/3, times t(0.975, 2) = 4.302653.
    found = between({0: 10, 1: 12, 2: 11}, {0: 9, 1: 10, 2: 10})
    assert (found.method, found.seeds, found.reason) == (PAIRED, (0, 1, 2), None)
    assert found.difference == pytest.approx(-4 / 3)
    assert found.interval == pytest.approx((-2.767551, 0.100884), abs=1e-6)
    assert found.lower is None


def test_paired_by_hand_with_0_outside() -> None:
    first, second = {0: 10.0, 1: 12.0, 2: 11.0}, {0: 8.0, 1: 9.0, 2: 9.0}
    found = between(first, second)
    assert found.interval == pytest.approx((-3.767551, -0.899116), abs=1e-6)
    assert found.lower == 1
    assert between(second, first).lower == 0


def test_what_seeds_share_cancels() -> None:
    # As independent groups they would overlap widely.
    found = between({0: 10, 1: 30, 2: 50, 3: 70}, {0: 9, 1: 28.5, 2: 49, 3: 68.5})
    assert found.difference == -1.25
    assert found.lower == 1


def test_seeds_that_only_one_has_are_no_pair() -> None:
    with_more = between({0: 10, 1: 12, 2: 11, 7: 99}, {0: 9, 1: 10, 2: 10, 8: 0})
    assert with_more == between({0: 10, 1: 12, 2: 11}, {0: 9, 1: 10, 2: 10})


def test_welch_by_hand() -> None:
    # Means 2 and 7; variances 2 of 2 and 4 of 3: error sqrt(1 + 4/3); (7/3)^2 / (1 + 8/9) = 49/17 degrees of freedom,
    # whose t is 3.257208: half the interval is 4.975468.
    found = between({0: 1, 1: 3}, {2: 5, 3: 7, 4: 9})
    assert (found.method, found.seeds, found.difference) == (WELCH, (), 5)
    assert found.interval == pytest.approx((0.024532, 9.975468), abs=1e-6)
    assert found.lower == 0


def test_one_seed_has_no_interval() -> None:
    found = between({0: 10}, {0: 1})
    assert (found.difference, found.method, found.interval, found.lower) == (-9, PAIRED, None, None)
    assert found.reason == "one shared seed (0) says nothing about luck"
    # Others that are not shared help nothing.
    assert between({0: 10, 1: 11, 2: 12}, {0: 1, 5: 2}).interval is None


def test_one_seed_that_is_not_shared_has_no_interval() -> None:
    found = between({0: 10, 1: 12}, {2: 1})
    assert (found.difference, found.method, found.interval) == (-10, WELCH, None)
    assert found.reason is not None
    assert "no spread" in found.reason


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({0: 7.1, 1: 8.1}, {0: 5.1, 1: 6.1}),
        ({0: 5.0, 1: 6.0}, {0: 5.0, 1: 6.0}),
        ({0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}),
        ({0: 5.0, 1: 5.0}, {2: 4.0, 3: 4.0}),
    ],
)
def test_without_a_spread_there_is_no_interval(first: dict[int, float], second: dict[int, float]) -> None:
    found = between(first, second)
    assert found.interval is None
    assert found.lower is None
    assert found.reason is not None
    assert "without a spread" in found.reason


def test_0_at_the_end_of_the_interval_is_inside() -> None:
    assert Difference(1.0, (0, 1), PAIRED, (0.0, 2.0)).lower is None


def test_nothing_to_compare() -> None:
    assert Difference.between({}, {0: 1.0}) is None
    assert Difference.between({0: 1.0}, {}) is None
