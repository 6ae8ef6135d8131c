"""Frames against stored ones. ACU_WRITE_GOLDEN=1 stores what is drawn now: look at it before it is committed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import RESIDUAL, drawn_run
from matplotlib.text import Text
from picture_comparison import TOLERANCE, farthest
from PIL import Image

from acu_core.render.colours import DARK, LIGHT
from acu_core.render.frame_schedule import plan_frames
from acu_core.render.shape_figure import ShapeFigure

GOLDEN = Path(__file__).parent / "golden"
FRAME = 8


def light() -> ShapeFigure:
    runs = [drawn_run(("conv1", "conv2"), hidden=True)]
    return ShapeFigure(runs, plan_frames(runs, frames=12, trail_points=60), theme=LIGHT)


def dark() -> ShapeFigure:
    runs = [drawn_run(("conv1", "conv2", "conv3"), groups=2, title="two groups")]
    return ShapeFigure(runs, plan_frames(runs, frames=12, trail_points=60), theme=DARK)


def side_by_side() -> ShapeFigure:
    runs = [
        drawn_run(("conv1", "conv2"), title="this one"),
        drawn_run(("conv1", "conv3"), iterations=range(0, 1500, 10), phase=1.0, title="that one"),
    ]
    return ShapeFigure(runs, plan_frames(runs, frames=12, trail_points=60), theme=LIGHT, title="Side by side")


def residual() -> ShapeFigure:
    runs = [drawn_run(RESIDUAL, title="31 layers")]
    return ShapeFigure(runs, plan_frames(runs, frames=12, trail_points=60), theme=DARK)


def interpolated() -> ShapeFigure:
    runs = [drawn_run(("conv1",), iterations=(10_000, 50_000), warm_up=10_000, curve=False, title="two files")]
    return ShapeFigure(runs, plan_frames(runs, frames=12, trail_points=60), theme=LIGHT)


PICTURES = {make.__name__: make for make in (light, dark, side_by_side, residual, interpolated)}


def frame(figure: ShapeFigure) -> Image.Image:
    return Image.fromarray(figure.pixels(FRAME).copy())


@pytest.mark.parametrize("name", PICTURES)
def test_a_frame_looks_as_it_did(name: str) -> None:
    path = GOLDEN / f"{name}.png"
    drawn = frame(PICTURES[name]())
    if os.environ.get("ACU_WRITE_GOLDEN"):
        drawn.quantize(128, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
    with Image.open(path) as stored:
        assert drawn.size == stored.size
        assert farthest(drawn, stored) < TOLERANCE


def _texts(figure: ShapeFigure) -> list[Text]:
    figure.show(FRAME)
    return [text for text in figure.figure.findobj(Text) if text.get_text()]


def _remove(part: str) -> Callable[[ShapeFigure], object]:
    return {
        "panel": lambda figure: figure.panels[0].places.fill(np.nan),
        "trails": lambda figure: setattr(figure.shapes, "_draw_trails", lambda *_: None),
        "spokes": lambda figure: setattr(figure.shapes, "_draw_spokes", lambda *_: None),
        "dots": lambda figure: setattr(figure.shapes, "_draw_dots", lambda *_: None),
        "curve": lambda figure: figure.curve._past[0].set_visible(False),  # type: ignore[union-attr]
        "theme": lambda figure: figure.figure.set_facecolor(LIGHT.panel),
    }[part]


@pytest.mark.parametrize("part", ["panel", "trails", "spokes", "dots", "curve", "theme"])
def test_the_comparison_sees_what_is_missing(part: str) -> None:
    figure = dark()
    _remove(part)(figure)
    with Image.open(GOLDEN / "dark.png") as stored:
        assert farthest(frame(figure), stored) > 2 * TOLERANCE


def test_the_comparison_sees_every_text_that_is_missing() -> None:
    figure = side_by_side()
    whole = frame(figure)
    for text in _texts(figure):
        text.set_visible(False)
        figure.drawing.forget()
        assert farthest(frame(figure), whole) > 2 * TOLERANCE, text.get_text()
        text.set_visible(True)


def test_the_comparison_sees_a_synapse_that_is_misplaced() -> None:
    figure = light()
    figure.panels[0].places[:, 0] += 0.25
    with Image.open(GOLDEN / "light.png") as stored:
        assert farthest(frame(figure), stored) > 2 * TOLERANCE


def test_the_comparison_is_blind_to_a_step_aside() -> None:
    whole = frame(light())
    moved = Image.new("RGB", whole.size, tuple(round(255 * part) for part in LIGHT.paper))
    moved.paste(whole, (2, 1))
    assert farthest(whole, moved) < TOLERANCE
