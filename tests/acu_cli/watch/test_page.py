from __future__ import annotations

import numpy as np
import pyte
import pytest

from acu_cli.watch.page import Page, Style, one_column, palette

ROWS, COLUMNS = 8, 40


def random_page(rng: np.random.Generator, before: Page | None = None) -> Page:
    page = Page(ROWS, COLUMNS)
    if before is not None:
        page.characters[:], page.styles[:] = before.characters, before.styles
    for _ in range(int(rng.integers(0, 6))):
        text = "".join(rng.choice(list("abc \u28ff\u2501"), int(rng.integers(1, 12))))
        page.put(int(rng.integers(ROWS)), int(rng.integers(COLUMNS)), text, Style(rng.integers(len(Style))))
    return page


@pytest.mark.parametrize("colours", ["truecolor", "standard", None])
def test_the_changes_make_one_page_of_another(colours: str | None) -> None:
    rng = np.random.default_rng(0)
    attributes = palette(colours)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    page: Page | None = None
    for _ in range(200):
        page, before = random_page(rng, page), page
        stream.feed(page.changes(before, attributes))
        fresh = pyte.Screen(COLUMNS, ROWS)
        pyte.Stream(fresh).feed(page.changes(None, attributes))
        for row in range(ROWS):
            for column in range(COLUMNS):
                assert chr(page.characters[row, column]) == screen.buffer[row][column].data
                if page.characters[row, column] != ord(" "):
                    assert screen.buffer[row][column] == fresh.buffer[row][column]


def test_little_is_written_where_little_changes() -> None:
    before, after = Page(24, 80), Page(24, 80)
    for page, number in ((before, "1,234"), (after, "1,235")):
        page.put(0, 0, "a run that has a long name", Style.STRONG)
        page.put(1, 0, f"iteration {number} of 3,000")
    attributes = palette("256")
    assert after.changes(before, attributes) == "\x1b[2;15H5"
    assert after.changes(after, attributes) == ""


def test_text_is_cut_at_the_edge_and_cannot_command_the_terminal() -> None:
    page = Page(2, 10)
    assert page.put(0, 6, "abcdef") == 10
    page.put(5, 0, "below")
    page.put(1, 0, "\x1b[2J\n\u6f22e\u0301")
    assert page.lines() == ["      abcd", "?[2J??e?"]
    assert one_column("conv1 \u2026") == "conv1 \u2026"


def test_ascii_has_nothing_else() -> None:
    page = Page(1, 20, ascii_only=True)
    page.put(0, 0, "conv\u2026x \u2501")
    assert page.lines() == ["conv~x ?"]


def test_no_colours_without_colours() -> None:
    page = Page(1, 20)
    for style in Style:
        page.put(0, int(style), "x", style)
    codes = page.changes(None, palette(None))
    assert "38;" not in codes
    assert not any(f";{code}m" in codes for code in (*range(30, 38), *range(90, 98)))
    assert "\x1b[0;1m" in codes
