from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acu_core.runs.shortest_floats import shortest_floats


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_any_bits_come_back_from_the_text_of_numpy(bits: list[int]) -> None:
    values = np.array(bits, np.uint32).view(np.float32)
    texts = [repr(value) for value in shortest_floats(values).tolist()]
    for text, value in zip(texts, values, strict=True):
        back = np.float32(text)
        assert np.isnan(value) if np.isnan(back) else back.tobytes() == value.tobytes()
        assert float(text) == float(str(value)) or np.isnan(value)


@pytest.mark.parametrize("size", [1e-4, 1e-3, 0.1, 1.0, 3.0, 500.0, 1e6])
def test_usual_numbers_are_as_short_as_numpy_makes_them(size: float) -> None:
    values = (np.random.default_rng(0).normal(size=(2_000, 2)) * size).astype(np.float32)
    found = shortest_floats(values)
    assert found.shape == values.shape
    for text, value in zip(map(repr, found.ravel().tolist()), values.ravel(), strict=True):
        assert np.float32(text) == value
        assert len(text) <= len(repr(float(str(value))))


def test_the_grid_is_short_and_zero_keeps_its_sign() -> None:
    values = np.array([0, -0.0, 1, -1, 0.5, np.nan, np.inf, -np.inf, 1e-30, 3e38, 16777216], np.float32)
    assert [repr(value) for value in shortest_floats(values).tolist()] == (
        ["0.0", "-0.0", "1.0", "-1.0", "0.5", "nan", "inf", "-inf", "1e-30", "3e+38", "16777216.0"]
    )
    assert shortest_floats(np.empty((0, 3), np.float32)).shape == (0, 3)
