"""What the picture says, read back from its texts, marks and pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from drawn_runs import GRID, RESIDUAL, drawn_run
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from acu_core.render.colours import DARK, LIGHT, THEMES, Theme
from acu_core.render.frame_schedule import Pace, plan_frames
from acu_core.render.layout import TEXT_SIZE, narrowest_width
from acu_core.render.recording import Recording
from acu_core.render.shape_figure import ShapeFigure
from acu_core.render.shape_panel import ShapePanel, dot_diameters, mark_scale
from acu_core.render.training_curve import TrainingCurve

LONG = "a_run_with_a_name_that_nobody_would_give_it_but_that_a_program_may_well_have_made_up_from_all_its_settings"
SHORT = range(0, 1000, 10)
SPARSE = (10_000, 50_000)
PICTURES: dict[str, list[Recording]] = {
    "one layer": [drawn_run(("conv",))],
    "hidden": [drawn_run(("conv",), hidden=True, groups=2)],
    "two layers": [drawn_run(("conv1", "conv2"), curve=False)],
    "six layers": [drawn_run([f"conv{n}" for n in range(6)])],
    "many groups": [drawn_run(("conv1", "conv2", "conv3"), groups=12, hidden=True)],
    "31 layers": [drawn_run(RESIDUAL)],
    "two files": [drawn_run(("conv1", "conv2"), iterations=SPARSE, warm_up=10_000, curve=False)],
    "one file": [drawn_run(("conv1",), iterations=(64_000,), curve=False)],
    "a long name": [drawn_run(("conv1", "conv2", "conv3"), title=LONG)],
    "100 layers": [drawn_run([f"encoder.{n // 4}.part{n % 4}.convolution" for n in range(100)], iterations=SHORT)],
    "long layers": [drawn_run([f"encoder.blocks.{n}.attention.projection" for n in range(9)])],
    "side by side": [drawn_run(title="one"), drawn_run(("conv2", "conv3"), iterations=SHORT, title="other")],
    "groups side by side": [drawn_run(groups=2, title=LONG), drawn_run(groups=2, title=LONG)],
    "four runs": [drawn_run(iterations=range(0, 100 * n, 5), title=LONG) for n in (10, 12, 14, 16)],
    "a run and two files": [drawn_run(), drawn_run(iterations=SPARSE, warm_up=10_000, curve=False)],
}


def draw(
    runs: Sequence[Recording], frames: int = 24, theme: Theme = LIGHT, pace: Pace = Pace.MOVEMENT, **options: object
) -> ShapeFigure:
    schedule = plan_frames(runs, frames=frames, trail_points=30, pace=pace)
    return ShapeFigure(runs, schedule, theme=theme, **options)  # type: ignore[arg-type]


def texts(figure: ShapeFigure, frame: int = -1) -> list[Text]:
    figure.show(range(figure.frames)[frame])
    return [text for text in figure.figure.findobj(Text) if text.get_text()]


def words(figure: ShapeFigure, frame: int = -1) -> str:
    return " | ".join(text.get_text() for text in texts(figure, frame))


def limits(panel: ShapePanel) -> tuple[float, ...]:
    return (*panel.axes.get_xlim(), *panel.axes.get_ylim())


def extent(figure: ShapeFigure, text: Text) -> Bbox:
    return text.get_window_extent(figure.drawing._canvas.get_renderer())


@pytest.mark.parametrize("width", [None, "narrowest", "between"])
@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_large_inside_and_apart(name: str, width: str | None) -> None:
    runs = PICTURES[name]
    pixels = round(100 * narrowest_width(len(runs))) + (61 if width == "between" else 0)
    figure = draw(runs, width=None if width is None else pixels)
    assert width is None or abs(figure.size[0] - pixels) <= 1
    for frame in (0, figure.frames // 2, figure.frames - 1):
        shown = texts(figure, frame)
        boxes = [extent(figure, text) for text in shown]
        for text, box in zip(shown, boxes, strict=True):
            assert text.get_fontsize() * figure.figure.dpi / 72 >= 11, text
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= figure.size[0], text
            assert box.y1 <= figure.size[1], text
        for (one, box), (other, other_box) in itertools.combinations(zip(shown, boxes, strict=True), 2):
            # Boxes are as high as a line: letters of neighbouring lines may share a pixel of them.
            assert not box.overlaps(other_box.padded(-1)), (one, other)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_texts_have_colours_that_are_known_to_be_legible(theme: Theme) -> None:
    # test_colours.py holds their contrast with paper and panel.
    for runs in PICTURES.values():
        for text in texts(draw(runs, theme=theme)):
            assert text.get_color() in (theme.ink, theme.muted, theme.warm_up_text), text


def test_no_two_panels_bear_one_name() -> None:
    figure = draw(PICTURES["31 layers"])
    bold = [text.get_text() for text in texts(figure) if text.get_fontweight() == "bold"]
    names = [name for name in bold if "conv" in name or "block" in name]
    assert len(names) == len(set(names)) == 31
    assert len(figure.panels) == 31


def test_stages_are_marked() -> None:
    # The first layer and three stages, which are cut by three ends of rows.
    assert len(draw(PICTURES["31 layers"]).layout.brackets) == 7
    assert not draw(PICTURES["six layers"]).layout.brackets


def test_a_frame_says_its_iteration_or_that_it_lies_between_two() -> None:
    figure = draw(PICTURES["six layers"])
    for frame, iteration in enumerate(figure.schedule.at_moments()[figure.schedule.frames]):
        assert f"iteration | {iteration:,.0f}" in words(figure, frame)
        assert "interpolated" not in words(figure, frame)
    figure = draw(PICTURES["two files"])
    assert "iteration | 10,000" in words(figure, 0)
    for frame in range(1, figure.frames - 1):
        assert "between | 10,000 and 50,000: interpolated" in words(figure, frame)
        assert "iteration |" not in words(figure, frame)
    assert "iteration | 50,000" in words(figure, -1)


def broken(figure: ShapeFigure) -> list[set[bool]]:
    """What the trails of each panel consist of: solid parts, broken ones, or both."""
    return [set(panel.unknown.tolist()) for panel in figure.panels]


def test_trails_between_few_snapshots_are_broken_lines() -> None:
    assert broken(draw(PICTURES["two files"])) == [{True}, {True}]
    assert broken(draw(PICTURES["two files"], frames=1)) == [{True}, {True}]
    assert broken(draw(PICTURES["six layers"])) == [{False}] * 6
    # Of runs beside each other each for itself, and only as long as it lasts.
    assert broken(draw(PICTURES["a run and two files"])) == [{False}, {False, True}] * 2


@pytest.mark.parametrize("frames", [1, 24])
def test_a_trail_is_broken_where_recording_paused(frames: int) -> None:
    paused = drawn_run(("a",), iterations=[*range(1, 200), *range(10_000, 10_200)], warm_up=0, curve=False)
    figure = draw([paused], frames=frames)
    moments = figure.schedule.at_moments()
    in_gap = (moments[:-1] >= 199) & (moments[1:] <= 10_000)
    assert in_gap.sum() > 1
    assert np.array_equal(figure.panels[0].unknown, in_gap)
    assert "interpolated" in words(figure)
    # The broken part is drawn: without it the picture lacks something, and solid it looks otherwise.
    seen = figure.pixels(figure.frames - 1).copy()
    figure.shapes._batches[0].unknown[:] = False
    figure.drawing.forget()
    assert not np.array_equal(seen, figure.pixels(figure.frames - 1))
    whole = drawn_run(("a",), iterations=range(1, 200), warm_up=0, curve=False)
    assert "interpolated" not in words(draw([whole], frames=frames))


@pytest.mark.parametrize("pace", Pace)
def test_the_time_line_shows_the_pace(pace: Pace) -> None:
    figure = draw(PICTURES["six layers"], frames=41, pace=pace)
    assert f"pace: {pace.value}" in words(figure)
    ticks = figure.timeline.ticks
    assert len(ticks) == 21
    shown = figure.schedule.at_moments()[figure.schedule.frames][::2]
    assert ticks == pytest.approx([figure.timeline.across(iteration) for iteration in shown])
    even = np.allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=0.2)
    assert even == (pace is Pace.UNIFORM)
    # A still has no pace.
    assert "pace" not in words(draw(PICTURES["six layers"], frames=1, pace=pace))


def test_the_warm_up_and_the_drops_are_marked() -> None:
    assert "warm-up" in words(draw(PICTURES["six layers"]))
    assert "learning rate falls" in words(draw(PICTURES["six layers"]))
    late = replace(drawn_run(iterations=range(400, 2000, 10)), warm_up=400)
    assert "warm-up" not in words(draw([late]))
    assert late.curve is not None
    without = replace(late, curve=replace(late.curve, drops=np.zeros(0, np.int64)))
    assert "learning rate" not in words(draw([without]))
    # A drop outside of what is drawn is none.
    outside = replace(late, curve=replace(late.curve, drops=np.array([100, 3000])))
    assert "learning rate" not in words(draw([outside]))


def test_the_test_error_is_that_of_the_last_evaluation_before_the_frame() -> None:
    curve = TrainingCurve(np.array([500, 1500]), np.array([40.0, 12.5]), np.zeros(0, np.int64))
    figure = draw([replace(drawn_run(), curve=curve)], pace=Pace.UNIFORM, frames=201)
    for frame, iteration in enumerate(figure.schedule.at_moments()[figure.schedule.frames]):
        value = "12.5 %" if iteration >= 1500 else "40 %" if iteration >= 500 else "\N{EN DASH}"
        assert f"{value} |" in words(figure, frame) + " |", iteration
    # Round percentages beside the axes, as many as have room.
    assert "| 15 % | 30 % |" in words(figure, 0)
    for nothing in (None, TrainingCurve(np.array([5000]), np.array([1.0]), np.zeros(0, np.int64))):
        assert draw([replace(drawn_run(), curve=nothing)]).curve is None
    # Errors of 0 and only one evaluation have their place too.
    for errors in ([0.0, 0.0], [50.0, 0.0], [3.0, 3.0]):
        strange = TrainingCurve(np.array([500, 1500]), np.array(errors), np.zeros(0, np.int64))
        assert f"{errors[1]:g} %" in words(draw([replace(drawn_run(), curve=strange)]))
    one = TrainingCurve(np.array([500]), np.array([20.0]), np.zeros(0, np.int64))
    assert "20 %" in words(draw([replace(drawn_run(), curve=one)]))


def test_two_runs_say_what_of_them_was_not_recorded() -> None:
    figure = draw(PICTURES["a run and two files"], frames=60)
    found = {
        iteration: words(figure, frame)
        for frame, iteration in enumerate(figure.schedule.at_moments()[figure.schedule.frames])
    }
    assert "begins at 10,000" in found[0]
    assert "ended at 2,000" in found[50_000]
    # The legend says it once, of the trails.
    assert found[50_000].count("interpolated") == found[0].count("interpolated") == 1
    between = [text for iteration, text in found.items() if 10_000 < iteration < 50_000]
    assert between
    for text in between:
        assert text.count("interpolated") == 2
        assert "between | 10,000 and 50,000" in text
        assert "ended at 2,000" in text


def test_two_runs_have_one_scale_and_a_layer_that_one_lacks_is_an_empty_place() -> None:
    runs = [drawn_run(("a", "b")), drawn_run(("b", "c"), phase=2.0)]
    figure = draw(runs)
    assert len(figure.panels) == 4
    assert words(figure).count("no such") == 2
    assert len({limits(panel) for panel in figure.panels}) == 1
    # The first run's panel of b stands directly left of the second's.
    places = [figure.layout.place(1, number) for number in (0, 1)]
    assert places[0][1] == places[1][1]
    assert places[0][0] < places[1][0]


def test_a_run_beside_itself_is_the_same_twice() -> None:
    run = drawn_run(("a", "b"))
    figure = draw([run, run])
    pixels = figure.pixels(figure.frames - 1).astype(int)
    colours = [round(255 * part) for part in LIGHT.group(0)], [round(255 * part) for part in LIGHT.group(1)]
    for cell in range(2):
        marks = []
        for number, colour in enumerate(colours):
            left, bottom, side, _ = (100 * inches for inches in figure.layout.place(cell, number))
            top = figure.size[1] - bottom - side
            panel = pixels[round(top) : round(top + side), round(left) : round(left + side)]
            rows, columns = np.nonzero(np.abs(panel - colour).max(axis=-1) < 8)
            marks.append((len(rows), rows.mean(), columns.mean()))
        assert marks[0] == pytest.approx(marks[1], rel=0.03)


def test_the_size_of_a_dot_is_its_weight_norm() -> None:
    run = drawn_run(("a",), curve=False)
    norms = np.ones_like(run.weight_norms["a"])
    norms[:, 0, 0], norms[:, 0, 8] = 1.3, 0.7
    still = np.broadcast_to(GRID.astype(np.float32), run.positions["a"].shape)
    run = replace(run, positions={"a": still}, weight_norms={"a": norms})
    pixels = draw([run]).pixels(0).astype(int)
    accent = np.abs(pixels - [round(255 * part) for part in LIGHT.group(0)]).max(axis=-1) < 8
    accent[:100] = False
    areas = []
    for y, x in (GRID[0, 0], GRID[0, 1], GRID[0, 8]):
        layout = draw([run]).layout
        left, bottom, side, _ = (100 * inches for inches in layout.place(0, 0))
        column, row = left + (x / 1.8 + 1) / 2 * side, pixels.shape[0] - bottom - (1 - y / 1.8) / 2 * side
        areas.append(accent[round(row) - 20 : round(row) + 20, round(column) - 20 : round(column) + 20].sum())
    assert areas[0] > 1.5 * areas[1] > 1.5 * 1.5 * areas[2] > 0


def test_every_weight_norm_has_a_size_of_its_own_and_a_dot_that_is_seen() -> None:
    relative = np.array([0, 0.1, 0.3, 0.5, 0.8, 0.95, 1, 1.05, 1.2, 1.5, 2, 3, 9])
    for side in (0.7, 2.0, 4.2):
        diameters = dot_diameters(relative, side)
        assert np.all(np.diff(diameters) > 0)
        # In pixels, without the edge in the panel's colour around it.
        assert (diameters.min() - 1.1 * mark_scale(side)) * 100 / 72 >= 2.5
        assert diameters.max() < 2.5 * dot_diameters(1.0, side)
    assert "weight norm: 0.8, 1, 1.2 of the mean" in words(draw(PICTURES["six layers"]))


@pytest.mark.parametrize("name", ["one layer", "six layers", "31 layers", "four runs"])
@pytest.mark.parametrize("heavy", [1.0, 3.0, 8.0])
def test_every_dot_lies_within_its_panel(name: str, heavy: float) -> None:
    runs = []
    for run in PICTURES[name]:
        norms = {layer: np.array(values) for layer, values in run.weight_norms.items()}
        for values in norms.values():
            values[:, :, 0] *= heavy
        runs.append(replace(run, weight_norms=norms, positions={n: 3 * p for n, p in run.positions.items()}))
    for panel in draw(runs).panels:
        reach = limits(panel)[1]
        inches = panel.axes.get_position().width * panel.axes.figure.get_figwidth()
        radii = panel.diameters / 72 / 2 / inches * 2 * reach
        assert np.all(np.abs(panel.places) + radii[..., None] <= reach * 1.0001)


def test_rings_say_which_iteration_they_show() -> None:
    run = drawn_run()
    assert "| start |" in words(draw([run]))
    late = replace(drawn_run(iterations=range(1000, 2000, 10)), shortened=True)
    assert "| at 1,000 |" in words(draw([late]))
    assert "start" not in words(draw([late]))
    later = replace(drawn_run(iterations=range(1500, 2000, 10)), shortened=True)
    assert "| first shown |" in words(draw([late, later]))


def test_weight_norms_of_zero_are_drawn() -> None:
    run = drawn_run(("a",))
    run = replace(run, weight_norms={"a": np.zeros_like(run.weight_norms["a"])})
    assert draw([run]).pixels(0).std() > 0


def test_the_start_is_a_ring() -> None:
    figure = draw([drawn_run(("a",), curve=False)], theme=DARK)
    pixels = figure.pixels(figure.frames - 1).astype(int)
    ghosts = np.abs(pixels - [round(255 * part) for part in DARK.ghost]).max(axis=-1) < 12
    left, bottom, side, _ = (100 * inches for inches in figure.layout.place(0, 0))
    reach = limits(figure.panels[0])[1]
    for y, x in GRID[0]:
        column, row = left + (x / reach + 1) / 2 * side, pixels.shape[0] - bottom - (1 - y / reach) / 2 * side
        near = ghosts[round(row) - 9 : round(row) + 9, round(column) - 9 : round(column) + 9]
        assert near.sum() > 8 or (y, x) == (0, 0)


def test_the_title_is_the_run_or_what_is_asked_for() -> None:
    assert words(draw([drawn_run(title="plain-1")])).startswith("plain-1 |")
    assert words(draw([drawn_run(title="plain-1")], title="My shapes")).startswith("My shapes |")
    assert "plain-1" not in words(draw([drawn_run(title="plain-1")], title="My shapes"))
    both = words(draw([drawn_run(title="x"), drawn_run(title="y")], title="Both"))
    assert both.startswith("Both | left: | x | right: | y |")
    # An empty title is none.
    assert "plain-1" not in words(draw([drawn_run(title="plain-1")], title=""))


def test_any_name_can_be_drawn() -> None:
    # Mathematics, lines, letters that the font lacks, bytes that are no text.
    for name in ("$a$ $", "a\nb\tc", "\N{CJK UNIFIED IDEOGRAPH-5F62}\N{CJK UNIFIED IDEOGRAPH-72B6}", "run\udcff", " "):
        runs = [drawn_run((f"{name}.1", f"{name}.2"), title=name), drawn_run((f"{name}.1", f"{name}.2"), title=name)]
        for drawn in (draw(runs[:1]), draw(runs), draw(runs, title=name)):
            assert drawn.pixels(0).std() > 0
    assert "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}" in words(draw([drawn_run(title="\u5f62\u72b6")]))
    assert words(draw([drawn_run(title="$a$  b")])).startswith("$a$ b |")


@pytest.mark.parametrize("name", ["hidden", "six layers", "side by side", "a run and two files"])
def test_pixels_do_not_depend_on_the_frames_before(name: str) -> None:
    figure = draw(PICTURES[name], frames=6)
    straight = [figure.pixels(frame).copy() for frame in range(figure.frames)]
    for frame in reversed(range(figure.frames)):
        assert np.array_equal(figure.pixels(frame), straight[frame])
    assert all(side % 2 == 0 for side in figure.size)
    assert straight[0].shape == (figure.size[1], figure.size[0], 3)


def test_the_smallest_text_is_eleven_pixels_at_the_default_width() -> None:
    assert TEXT_SIZE * 100 / 72 >= 11
    assert draw(PICTURES["six layers"]).size[0] == 800


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_the_bar_shows_warm_up_past_future_and_drops_where_they_are(theme: Theme) -> None:
    figure = draw([drawn_run(("a", "b", "c"), warm_up=400)], theme=theme, pace=Pace.UNIFORM, frames=21)
    _, bottom, _, height = figure.layout.bar

    def colour(pixels: np.ndarray, iteration: float, above: float) -> list[int]:
        column = round(100 * figure.timeline.across(iteration))
        return list(pixels[round(pixels.shape[0] - 100 * (bottom + above)), column])

    expected = {
        # Frame: what stands at some iterations.
        2: {100: theme.warm_up, 300: theme.warm_up_track, 600: theme.track, 1900: theme.track},
        10: {100: theme.warm_up, 300: theme.warm_up, 600: theme.ink, 900: theme.ink, 1100: theme.track},
        20: {300: theme.warm_up, 500: theme.ink, 1900: theme.ink},
    }
    for frame, places in expected.items():
        pixels = figure.pixels(frame)
        for iteration, wanted in places.items():
            assert colour(pixels, iteration, height / 2) == [round(255 * part) for part in wanted], (frame, iteration)
        # The triangle over the drop of the learning rate at iteration 1,500, and none beside it.
        assert colour(pixels, 1500, height + 0.06) == [round(255 * part) for part in theme.ink]
        assert colour(pixels, 1420, height + 0.06) == [round(255 * part) for part in theme.paper]


def test_long_names_beside_each_other_keep_what_tells_them_apart() -> None:
    said = words(draw([drawn_run(title=f"{letter}/{LONG}") for letter in "ab"]))
    assert "| a" in said
    assert "| b" in said


def test_the_curve_says_its_scale() -> None:
    for name in ("one layer", "six layers", "side by side", "four runs"):
        assert "| test error, log scale" in words(draw(PICTURES[name]))
