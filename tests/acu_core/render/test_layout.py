from __future__ import annotations

import itertools

import pytest

from acu_core.render.layout import TEXT_SIZE, plan_layout

RESIDUAL = [1] + [2] * 15


@pytest.mark.parametrize(
    ("panels", "rows"),
    [
        (1, (1,)),
        (2, (2,)),
        (3, (3,)),
        (4, (2, 2)),
        (5, (3, 2)),
        (6, (3, 3)),
        (7, (4, 3)),
        (8, (4, 4)),
        (9, (3, 3, 3)),
        (10, (4, 3, 3)),
        (12, (4, 4, 4)),
        (31, (8, 8, 8, 7)),
    ],
)
def test_the_grid_is_a_little_wider_than_high(panels: int, rows: tuple[int, ...]) -> None:
    assert plan_layout([panels]).rows == rows


def test_rows_end_where_stages_end() -> None:
    assert plan_layout(RESIDUAL).rows == (7, 8, 8, 8)
    # Not at the price of a row that is much shorter.
    assert plan_layout([1, 5]).rows == (3, 3)


@pytest.mark.parametrize("abreast", [1, 2, 3, 4])
@pytest.mark.parametrize("panels", range(1, 60))
def test_rows_are_balanced(panels: int, abreast: int) -> None:
    rows = plan_layout([panels], abreast=abreast).rows
    assert sum(rows) == panels
    assert max(rows) - min(rows) <= 1


@pytest.mark.parametrize("stages", [*([n] for n in range(1, 60)), RESIDUAL, [3, 1, 2], [1, 1, 1, 1, 9]])
@pytest.mark.parametrize(("abreast", "curve"), [(1, False), (1, True), (2, True), (4, False)])
def test_panels_stay_inside_and_do_not_overlap(stages: list[int], abreast: int, curve: bool) -> None:
    layout = plan_layout(stages, abreast=abreast, lines=2, curve=curve)
    places = [layout.place(cell, number) for cell in range(sum(stages)) for number in range(abreast)]
    left, bottom, width, height = layout.bar
    assert left + width <= layout.width
    assert layout.count > bottom + height
    if layout.curve:
        assert layout.curve[0] == left
        assert layout.curve[2] == width
        # Between them stands a line of text.
        assert 0 < layout.curve[1] < layout.curve[1] + layout.curve[3] < bottom - TEXT_SIZE / 72
    for x, y, side, _ in places:
        assert x >= 0
        assert x + side <= layout.width + 1e-9
        assert y > layout.count + 0.15
        assert y + side < layout.lines[-1]
    for (x, y, side, _), (other_x, other_y, _, _) in itertools.combinations(places, 2):
        assert abs(x - other_x) > side or abs(y - other_y) > side


@pytest.mark.parametrize("panels", [4, 5, 7, 10, 11, 31])
def test_every_row_stands_in_the_middle(panels: int) -> None:
    layout = plan_layout([panels])
    for _, row in itertools.groupby(layout.corners, key=lambda corner: corner[1]):
        lefts = [corner[0] for corner in row]
        assert lefts[0] == pytest.approx(layout.width - (lefts[-1] + layout.cell))


def test_brackets_span_the_layers_of_a_stage_and_break_with_the_row() -> None:
    layout = plan_layout([1, 2, 5])
    assert layout.rows == (4, 4)
    spans = [(left, right) for left, right, _ in layout.brackets]
    corners = [corner[0] for corner in layout.corners]
    ends = [corner + layout.cell for corner in corners]
    assert spans == [(corners[0], ends[0]), (corners[1], ends[2]), (corners[3], ends[3]), (corners[4], ends[7])]
    assert plan_layout([7]).brackets == ()
    # Stages are further apart than the layers of one.
    assert corners[1] - ends[0] > corners[2] - ends[1]
