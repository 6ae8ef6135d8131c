"""The page for every reader: themes, phones, fingers, paper, names for what can be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from report_page import index, near, pixels

from acu_core.render.colours import DARK, LIGHT
from acu_core.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from playwright.sync_api import Page

MakeRun = Callable[..., RunDirectory]
OpenPage = Callable[..., "Page"]


def test_the_theme_follows_the_system_until_the_button_is_pressed(opened: Callable[..., Page]) -> None:
    page = opened(color_scheme="dark")
    canvas = page.locator("canvas").first
    button = page.get_by_role("button", name="Dark theme")
    assert page.evaluate("acu.theme") == "dark"
    assert button.get_attribute("aria-pressed") == "true"
    assert near(pixels(canvas)[4, -4], DARK.panel)
    page.emulate_media(color_scheme="light")
    assert page.evaluate("acu.theme") == "light"
    assert near(pixels(canvas)[4, -4], LIGHT.panel)
    button.click()
    assert page.evaluate("acu.theme") == "dark"
    assert button.get_attribute("aria-pressed") == "true"
    assert near(pixels(canvas)[4, -4], DARK.panel)
    assert near(pixels(page.locator("body"))[2, 2], DARK.paper)


LONG = ("a.very.long.name.of.a.layer.that.nobody.would.give.conv1", "conv2")


@pytest.mark.parametrize("layers", [("conv1",), LONG, tuple(f"stage{n // 8}.blocks.{n % 8}.conv" for n in range(24))])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    opened: Callable[..., Page], layers: tuple[str, ...]
) -> None:
    page = opened(run={"layers": layers}, width=360, height=740)
    page.evaluate("document.querySelectorAll('details').forEach(details => (details.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 360.5"
        " && !e.closest('.scrolling, [hidden]')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    controls = page.locator("#controls").bounding_box()
    assert controls is not None
    # They stay in sight while the page is scrolled.
    assert controls["y"] + controls["height"] <= 740
    for name in ("Play", "Previous snapshot", "Next snapshot"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 40


def test_fingers_move_the_slider_and_get_the_hint(opened: Callable[..., Page]) -> None:
    page = opened(width=360, height=740, has_touch=True, is_mobile=True)
    slider = page.locator("#slider").bounding_box()
    assert slider is not None
    page.touchscreen.tap(slider["x"] + slider["width"] / 2, slider["y"] + slider["height"] / 2)
    assert 90 <= index(page) <= 110
    page.locator("canvas").first.scroll_into_view_if_needed()
    x, y = page.evaluate("acu.places('conv1')[0]")
    # As near as a finger gets.
    page.touchscreen.tap(x - 8, y - 8)
    hint = page.locator("#hint")
    assert hint.is_visible()
    assert "synapse\n0 (0 to 8)" in hint.inner_text()
    page.touchscreen.tap(30, 20)
    assert hint.is_hidden()
    curve = page.locator("#errors svg")
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 40)
    assert 10 <= index(page) <= 60


def test_paper_has_everything_in_light(opened: Callable[..., Page]) -> None:
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#slider").is_hidden()
    assert page.locator("#play").is_hidden()
    assert page.locator("#iteration").inner_text() == "iteration 200"
    assert page.locator(".environment").is_visible()
    assert page.locator("#numbers tbody tr").count() == 18
    assert near(pixels(page.locator("canvas").first)[4, -4], LIGHT.panel)
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("acu.theme") == "dark"
    assert page.locator(".environment").is_hidden()
    assert page.locator("#slider").is_visible()


def test_everything_that_can_be_used_has_a_name(opened: Callable[..., Page]) -> None:
    page = opened()
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas, svg[role=img]')]"
        ".filter(e => !e.getAttribute('aria-label') && !e.closest('label')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert nameless == []
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("width", [360, 640, 1000, 1300])
@pytest.mark.parametrize("name", ["stage{s}.block_{b}.body.conv{c}", "block{s}_{b}.body.conv{c}"])
def test_headings_stay_apart_at_any_width(opened: Callable[..., Page], width: int, name: str) -> None:
    layers = tuple(name.format(s=s, b=b, c=c) for s in (1, 2, 3) for b in range(1, 6) for c in (1, 2))
    page = opened(run={"layers": ("stem", *layers), "iterations": 20, "warm_up": 5}, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(details => (details.open = true))")
    cut = page.evaluate(
        "[...document.querySelectorAll('.panel .name, .moved-by-layer li span')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0"
        " || getComputedStyle(e).textOverflow === 'ellipsis').map(e => e.textContent)"
    )
    assert cut == []
    listed = page.locator(".moved-by-layer li span:first-child").all_inner_texts()
    assert len(set(listed)) == 31
    # Nothing stands beside an empty half of a row but the last panels of a stage.
    rows: dict[float, int] = {}
    for box in page.evaluate("[...document.querySelectorAll('canvas')].map(e => e.getBoundingClientRect().top)"):
        rows[round(box)] = rows.get(round(box), 0) + 1
    across = max(rows.values())
    assert len(rows) <= -(-31 // across) + 4
