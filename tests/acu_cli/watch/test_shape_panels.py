from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from acu_cli.watch.dots import BRAILLE
from acu_cli.watch.page import Style
from acu_cli.watch.panel_grid import PanelGrid
from acu_cli.watch.shape_panels import ShapePanels, layer_parts, movement
from acu_core.runs.snapshot_header import LayerEntry

START = np.array([[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1)], np.float32)
ROWS, COLUMNS = 8, 16


def draw(
    *snapshots: npt.NDArray[np.float32], layers: int = 1, ascii_only: bool = False
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    entries = [LayerEntry(f"layer{number}", 1, 9) for number in range(layers)]
    panels = ShapePanels(entries, range(layers), None, rows=ROWS, columns=COLUMNS, ascii_only=ascii_only)
    return panels.draw(np.stack(snapshots), 1)


def centre_of_dots(characters: npt.NDArray[np.uint32], there: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Mean row and column, in dots, of those of the characters `there`."""
    places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
    dots = [
        (4 * row + down, 2 * column + across)
        for row, column in np.argwhere(there)
        for bit, (down, across) in enumerate(places)
        if int(characters[row, column] - BRAILLE) >> bit & 1
    ]
    return float(np.mean([dot[0] for dot in dots])), float(np.mean([dot[1] for dot in dots]))


def test_a_synapse_is_where_it_is_to_a_part_of_a_character() -> None:
    only = np.full((9, 2), np.nan, np.float32)
    places = []
    for x in np.linspace(-0.5, 0.5, 9):
        now = only.copy()
        now[4] = (0.0, x)
        characters, styles = draw(START, now)
        places.append(centre_of_dots(characters[0], styles[0] == Style.SYNAPSE))
    rows = {row for row, _ in places}
    columns = [column for _, column in places]
    # Between the dots 15 and 16 of 32: the middle.
    assert rows == {15.5}
    assert columns[4] == 15.5
    assert columns == sorted(columns)
    # Nine dots a pixel here, or 4.5 characters.
    assert len(set(columns)) == 9


def test_paths_and_starts_stay_and_synapses_are_above_them() -> None:
    moved = START + np.float32(0.8)
    between = [START + np.float32(0.8 * share) for share in (0.0, 0.25, 0.5, 0.75)]
    _, styles = draw(*between, moved)
    assert {Style.SYNAPSE, Style.START, Style.TRAIL, Style.GRID} <= {Style(style) for style in np.unique(styles)}


def test_step_after_step_gives_the_same_as_all_at_once() -> None:
    rng = np.random.default_rng(0)
    steps = START + np.cumsum(rng.normal(0, 0.1, (40, 9, 2)), axis=0).astype(np.float32)
    steps[0] = START
    panels = ShapePanels([LayerEntry("a", 1, 9)], [0], None, rows=ROWS, columns=COLUMNS, ascii_only=False)
    for number in range(1, len(steps) + 1):
        characters, styles = panels.draw(steps[:number], 1)
    # Drawn with one scale from the beginning on, or with the last of several.
    expected, expected_styles = draw(*steps)
    assert (characters == expected).all()
    assert (styles == expected_styles).all()


@pytest.mark.parametrize("wild", [1e30, -1e30, np.nan, np.inf, 50.0])
def test_no_position_is_too_wild(wild: float) -> None:
    now = START.copy()
    now[0] = wild
    characters, styles = draw(START, now)
    assert characters.shape == (1, ROWS, COLUMNS)
    assert (styles == Style.SYNAPSE).any()


def test_ascii() -> None:
    characters, _ = draw(START, START + np.float32(0.3), ascii_only=True)
    assert characters.max() < 128
    text = "".join(map(chr, characters.reshape(-1)))
    assert text.count("+") == 9


def test_movement_is_of_each_layer() -> None:
    layers = [LayerEntry("a", 1, 4), LayerEntry("b", 2, 3)]
    start = np.zeros((10, 2), np.float32)
    now = start.copy()
    now[4:] = (3.0, 4.0)
    assert movement(now, start, layer_parts(layers)) == [0.0, 5.0]


@pytest.mark.parametrize(("height", "width"), [(14, 80), (13, 52), (40, 160), (6, 24), (60, 30)])
@pytest.mark.parametrize("count", [1, 2, 6, 8, 31, 100])
def test_panels_fit(count: int, height: int, width: int) -> None:
    grid = PanelGrid.fit(count, height, width)
    assert grid is not None
    assert 1 <= grid.count <= count
    assert grid.height <= height
    assert grid.side >= 20
    corners = {grid.place(number) for number in range(grid.count)}
    assert len(corners) == grid.count
    assert max(column for _, column in corners) + grid.columns <= width
    rows = [[place for place in corners if place[0] == row] for row in {row for row, _ in corners}]
    # The last row may lack some, no other.
    assert max(map(len, rows)) - min(map(len, rows)) < len(rows) or len(rows) == 1


def test_there_may_be_no_room() -> None:
    assert PanelGrid.fit(3, 5, 80) is None
    assert PanelGrid.fit(3, 20, 9) is None


def test_what_cannot_be_seen_is_not_drawn_anew_and_what_can_be_is() -> None:
    panels = ShapePanels([LayerEntry("layer", 1, 9)], [0], None, rows=ROWS, columns=COLUMNS, ascii_only=False)
    drawn = panels.draw(np.stack([START, START]), 1)
    # Dots here are a ninth of a pixel or larger.
    assert panels.draw(np.stack([START, START + np.float32(0.01)]), 1) is drawn
    # Small steps add up: compared is with what is on the screen.
    for step in range(2, 80):
        now = START + np.float32(0.01 * step)
        found = panels.draw(np.stack([START, now]), 1)
    alone = draw(START, now)
    assert ((found[1] == Style.SYNAPSE) == (alone[1] == Style.SYNAPSE)).mean() > 0.97
    # Another history: all of it is new.
    assert panels.draw(np.stack([START, now]), 2) is not found
