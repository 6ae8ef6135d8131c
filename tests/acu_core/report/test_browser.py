"""The page in a real browser. `window.acu` is its small interface for programs; `page/begin.js` says what is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from report_page import index, near, pixels, slide, snapshots

from acu_core.render.colours import DARK, LIGHT
from acu_core.report.page import write_page
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

if TYPE_CHECKING:
    from playwright.sync_api import Page

MakeRun = Callable[..., RunDirectory]
OpenPage = Callable[..., "Page"]


HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_the_slider_moves_the_synapses_to_where_the_snapshots_say(opened: Callable[..., Page]) -> None:
    page = opened()
    file = snapshots(page)
    assert page.evaluate("acu.iterations") == file.iterations.tolist()
    for to in (0, 1, 50, 51, 137, 200, 60):
        slide(page, to)
        assert index(page) == to
        assert page.locator("#iteration").inner_text() == f"iteration {to}"
        assert page.locator("#slider").get_attribute("aria-valuetext") == f"iteration {to}"
        for name in ("conv1", "conv2"):
            recorded = file.positions(name)[to].reshape(-1, 2)
            shown = np.array(page.evaluate("name => acu.positions(name)", name))
            assert np.hypot(*(shown - recorded).T).max() <= 0.01
            norms = np.array(page.evaluate("name => acu.weightNorms(name)", name))
            np.testing.assert_allclose(norms, file.weight_norms(name)[to].reshape(-1), rtol=0.01)


def test_every_snapshot_is_the_recorded_one(opened: Callable[..., Page]) -> None:
    page = opened(run={"groups": 2, "iterations": 100})
    file = snapshots(page)
    shown = page.evaluate(
        "acu.iterations.map((_, i) => (acu.show(i), acu.layers.map((n) => [acu.positions(n), acu.weightNorms(n)])))"
    )
    for number, name in enumerate(("conv1", "conv2")):
        off = np.array([at[number][0] for at in shown]) - file.positions(name).reshape(101, 18, 2)
        assert np.hypot(off[..., 0], off[..., 1]).max() <= 0.01
        norms = np.array([at[number][1] for at in shown])
        np.testing.assert_allclose(norms, file.weight_norms(name).reshape(101, 18), rtol=0.01)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: str(theme.name))
def test_the_pixels_are_where_the_snapshots_say(opened: Callable[..., Page], theme: Any) -> None:
    page = opened(color_scheme=theme.name)
    canvas = page.locator("canvas").nth(1)
    file = snapshots(page)
    for to in (0, 200):
        slide(page, to)
        image = pixels(canvas)
        side = len(image)
        positions = file.positions("conv2")[to].reshape(-1, 2)
        # The scale is all that is taken from the page: the distance of the places of two synapses.
        box = canvas.bounding_box()
        assert box is not None
        places = np.array(page.evaluate("acu.places('conv2')")) - [box["x"], box["y"]]
        unit = np.ptp(places[:, 1]) / np.ptp(positions[:, 0])
        for number, (y, x) in enumerate(positions):
            row, column = round(side / 2 + y * unit), round(side / 2 + x * unit)
            assert near(image[row, column], theme.ink if number == 4 else theme.groups[0]), (to, number)
        assert near(image[side - 4, 4], theme.panel)


def test_every_iteration_can_be_reached_by_keys(opened: Callable[..., Page]) -> None:
    page = opened()
    assert index(page) == 200
    for key, expected in [
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", 0),
        ("End", 200),
        ("ArrowRight", 200),
        ("PageDown", 150),
        ("PageUp", 200),
    ]:
        page.keyboard.press(key)
        assert index(page) == expected, key
    # What needs the keys itself keeps them.
    page.locator("#speed").focus()
    page.keyboard.press("PageDown")
    assert index(page) == 200
    page.locator("#speed").blur()
    # The same where the slider has keys of its own: none of them counts twice.
    page.locator("#slider").focus()
    for key, expected in [
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowUp", 2),
        ("ArrowDown", 1),
        ("PageUp", 51),
        ("PageDown", 1),
        ("End", 200),
    ]:
        page.keyboard.press(key)
        assert index(page) == expected, key


def test_space_and_the_button_play_and_pause(opened: Callable[..., Page]) -> None:
    page = opened()
    button = page.get_by_role("button", name="Play", exact=True)
    page.keyboard.press(" ")
    # From the end it begins anew.
    assert page.evaluate("acu.playing")
    page.wait_for_selector("button[aria-label=Pause]")
    page.keyboard.press(" ")
    assert not page.evaluate("acu.playing")
    page.evaluate("acu.show(190)")
    page.locator("#speed").select_option("4")
    button.click()
    page.wait_for_selector("body:not(.playing)", timeout=30_000)
    assert index(page) == 200
    # A focused button has the space for itself: once is once.
    page.evaluate("acu.show(0)")
    page.locator("#speed").select_option("0.25")
    button.focus()
    page.keyboard.press(" ")
    assert page.evaluate("acu.playing")


def test_previous_and_next(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_role("button", name="Previous snapshot").click()
    page.get_by_role("button", name="Previous snapshot").click()
    assert index(page) == 198
    page.get_by_role("button", name="Next snapshot").click()
    assert index(page) == 199


def test_a_hint_has_the_numbers_of_a_synapse(opened: Callable[..., Page]) -> None:
    page = opened()
    file = snapshots(page)
    hint = page.locator("#hint")
    assert hint.is_hidden()
    x, y = page.evaluate("acu.places('conv2')[2]")
    page.mouse.move(x, y)
    assert hint.is_visible()
    words = hint.inner_text().split()
    recorded, start = file.positions("conv2")[200][0, 2], file.positions("conv2")[0][0, 2]
    assert words[0] == "conv2"
    # Counted from 0, as in the file.
    assert words[words.index("synapse") + 1] == "2"
    shown = [float(word.rstrip(",")) for word in words[words.index("x") + 1 :][:2]]
    assert np.hypot(*(shown - recorded)) <= 0.011
    moved = float(words[words.index("moved") + 1])
    assert abs(moved - np.hypot(*(recorded - start))) <= 0.021
    norm = float(words[words.index("norm") + 1])
    assert norm == pytest.approx(float(file.weight_norms("conv2")[200][0, 2]), rel=0.02)
    # It goes with the synapse, and away with the pointer.
    before = hint.inner_text()
    page.keyboard.press("Home")
    assert hint.inner_text() != before
    page.mouse.move(5, 5)
    assert hint.is_hidden()


def test_the_numbers_of_all_synapses_are_a_table(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_text("Numbers of iteration 200").click()
    rows = page.locator("#numbers tbody tr")
    assert rows.count() == 18
    assert rows.nth(4).inner_text().split("\t")[:6] == ["conv1", "0", "4", "0.000", "0.000", "0.000"]
    assert "counted from 0" in page.locator("#numbers summary").inner_text()
    # All with as many figures.
    norms = [text.split("\t")[6] for text in rows.all_inner_texts()]
    assert all(re.fullmatch(r"\d\.\d\d", norm) for norm in norms)
    before = rows.nth(0).inner_text()
    page.evaluate("acu.show(0)")
    assert rows.nth(0).inner_text() != before


@pytest.mark.parametrize("name", ["errors", "loss"])
def test_the_curves_move_the_iteration_and_follow_it(opened: Callable[..., Page], name: str) -> None:
    page = opened()
    curve = page.locator(f"#{name} svg")
    box = curve.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
    page.mouse.down()
    middle = index(page)
    assert 60 <= middle <= 140
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 40, steps=4)
    assert index(page) > middle
    page.mouse.move(box["x"] + 2 * box["width"], box["y"] + 40)
    assert index(page) == 200
    page.mouse.up()
    page.mouse.move(box["x"] + 10, box["y"] + 40)
    assert index(page) == 200
    slide(page, 120)
    at = {"errors": "90.00 % at 100", "loss": "0.0167 at 120"}[name]
    assert page.locator(f"#{name} output").inner_text() == at
    x = float(curve.locator(".cursor").get_attribute("x1") or "nan")
    slide(page, 0)
    assert float(curve.locator(".cursor").get_attribute("x1") or "nan") < x
    assert page.locator(f"#{name} output").inner_text() == "none yet"


def test_what_the_training_did_is_marked(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.locator("#marks .warm-up").count() == 1
    assert page.locator("#marks .drop").count() == 1
    assert page.locator("#errors svg .warm-up").count() == 1
    assert page.locator("#errors svg .drop").count() == 1
    slide(page, 10)
    assert page.locator("#phase").inner_text() == "warm-up: positions wait"
    slide(page, 150)
    assert page.locator("#phase").inner_text() == "learning rate fell once"


def test_a_layer_with_a_hostile_name_is_only_a_name(opened: Callable[..., Page]) -> None:
    page = opened(run={"layers": (HOSTILE, "conv2")})
    assert page.evaluate("acu.layers") == [HOSTILE, "conv2"]
    assert page.locator("img").count() == 0
    x, y = page.evaluate("acu.places(acu.layers[0])[0]")
    page.mouse.move(x, y)
    assert page.locator("#hint strong").inner_text() == HOSTILE
    page.get_by_text("Numbers of iteration 200").click()
    assert page.locator("#numbers tbody td").first.inner_text() == HOSTILE


def test_groups_and_a_hidden_shape_are_drawn(opened: Callable[..., Page]) -> None:
    hidden = [[[2.0, 2.0], [-2.0, 2.0], *([[0.0, 0.0]] * 7)]]
    page = opened(run={"groups": 2, "hidden": hidden, "layers": ("conv1",)})
    canvas = page.locator("canvas")
    image = pixels(canvas)
    box = canvas.bounding_box()
    assert box is not None
    places = np.round(np.array(page.evaluate("acu.places('conv1')")) - [box["x"], box["y"]]).astype(int)
    # The last of the second group is drawn over all others.
    column, row = places[-1]
    assert near(image[row, column], LIGHT.groups[1])
    blue = np.round(255 * np.asarray(LIGHT.hidden)).astype(int)
    assert (np.abs(image.astype(int) - blue).max(axis=-1) <= 8).sum() > 50
    assert "group 1" in page.locator(".legend").inner_text()
    assert "hidden shape" in page.locator(".legend").inner_text()


def test_a_page_of_one_snapshot_and_one_of_two(make_run: MakeRun, open_page: OpenPage, tmp_path: Path) -> None:
    run = make_run()
    write_page(run.positions, tmp_path / "one.html", first=7, last=7)
    write_page(run, tmp_path / "two.html", first=7, last=8)
    page = open_page(tmp_path / "one.html")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("[acu.index, acu.playing]") == [0, False]
    page = open_page(tmp_path / "two.html")
    page.keyboard.press("Home")
    assert page.locator("#iteration").inner_text() == "iteration 7"


def test_a_layer_moved_by_the_root_mean_square_of_its_synapses(opened: Callable[..., Page]) -> None:
    page = opened()
    moved = snapshots(page).positions("conv2")[[0, 200]].reshape(2, -1, 2).astype(float)
    expected = np.sqrt(np.square(moved[1] - moved[0]).sum(axis=1).mean())
    caption = page.locator("figure.panel").nth(1).locator(".moved").inner_text()
    assert caption.startswith("moved ")
    assert float(caption.split()[1]) == pytest.approx(expected, abs=0.011)
    # The same number in the list, and no other one of all layers together.
    figures = page.locator(".moved-by-layer").inner_text()
    assert "root mean square" in figures
    amounts = re.findall(r"\d+\.\d\d px", figures)
    assert len(amounts) == 3
    assert amounts[0] == max(amounts[1:])
    assert amounts[2] == caption.removeprefix("moved ")


def test_the_way_across_a_gap_is_broken(open_page: OpenPage, tmp_path: Path) -> None:
    # To the right for 100 iterations, down during the gap, and to the right again.
    iterations = np.r_[0:100, 5000:5100]
    positions = np.zeros((200, 1, 2, 2))
    positions[:, 0, 1] = [-2.0, -2.0]
    positions[100:, 0, 1, 0] += 4.0
    positions[:, 0, 1, 1] += np.r_[np.linspace(0, 1.5, 100), np.linspace(1.5, 3.0, 100)]
    with SnapshotWriter.create(tmp_path / "gap.bin", [LayerEntry("conv", 1, 2)], TrainingFacts(0)) as writer:
        writer.append_block(iterations, [positions], [np.ones((200, 1, 2))])
    write_page(tmp_path / "gap.bin", tmp_path / "gap.html")
    page = open_page(tmp_path / "gap.html")
    legend = page.locator(".legend").inner_text()
    assert "interpolated" in legend
    assert "the way it came" in legend
    canvas = page.locator("canvas")
    image, box = pixels(canvas).astype(int), canvas.bounding_box()
    assert box is not None

    def place(snapshot: int) -> tuple[int, int]:
        page.evaluate("snapshot => acu.show(snapshot)", snapshot)
        x, y = np.array(page.evaluate("acu.places('conv')[1]")) - [box["x"], box["y"]]
        return round(x), round(y)

    (x, top), (_, bottom), (left, row), (right, _) = place(99), place(100), place(110), place(180)
    paper = np.round(255 * np.asarray(LIGHT.panel)).astype(int)

    def orange(part: npt.NDArray[np.int_]) -> float:
        # Of the three pixels across the line the one that is nearest to the trail's colour.
        return float(((part[..., 0] - part[..., 2]).max(axis=-1) > 20).mean())

    assert paper[0] - paper[2] < 10
    assert 0.3 < orange(image[top + 12 : bottom - 12, x - 1 : x + 2]) < 0.8
    assert orange(image[row - 1 : row + 2, left:right].swapaxes(0, 1)) == 1.0
