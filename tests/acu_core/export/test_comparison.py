from __future__ import annotations

import pytest

from acu_core.export.comparison import Comparison


@pytest.mark.parametrize(
    ("difference", "largest_logit", "equal"),
    [
        (1e-4, 38.0, True),
        (1.1e-4, 38.0, False),
        (7.8e-3, 10_000.0, True),
        (1.1e-2, 10_000.0, False),
        (float("nan"), 38.0, False),
        (float("nan"), float("nan"), False),
    ],
)
def test_what_counts_as_equal(difference: float, largest_logit: float, equal: bool) -> None:
    assert Comparison(10, 1, 1, difference, largest_logit).equal is equal
