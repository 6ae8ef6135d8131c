from __future__ import annotations

import pytest

from acu_core.render.layout import plan_layout


@pytest.mark.parametrize(
    ("panels", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (8, 4), (9, 3), (12, 4)]
)
def test_the_grid_is_a_little_wider_than_high(panels: int, columns: int) -> None:
    assert plan_layout(panels).columns == columns


@pytest.mark.parametrize("panels", range(1, 60))
def test_panels_stay_inside_and_do_not_overlap(panels: int) -> None:
    layout = plan_layout(panels)
    corners = [layout.corner(index) for index in range(panels)]
    footer = layout.bar[1] + layout.bar[3]
    for left, bottom in corners:
        assert left >= 0
        assert left + layout.panel <= layout.width
        assert bottom > footer + 0.25
        assert bottom + layout.panel < layout.height
    for one, (x, y) in enumerate(corners):
        for other_x, other_y in corners[:one]:
            assert abs(x - other_x) > layout.panel or abs(y - other_y) > layout.panel
