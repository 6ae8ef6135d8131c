from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from picture_comparison import TOLERANCE, farthest
from PIL import Image

from acu_core.errors import UserError
from acu_core.render import picture_file
from acu_core.render.colours import DARK, LIGHT, THEMES, Theme
from acu_core.render.field_animation import default_field_output, render_receptive_field
from acu_core.render.field_colours import FieldTheme
from acu_core.render.field_figure import FieldFigure, FieldFrames, default_title
from acu_core.render.field_panel import pixel_ticks
from acu_core.render.frame_schedule import FrameSchedule, Pace
from acu_core.render.recording import Recording
from acu_core.render.training_curve import TrainingCurve
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

MakeRecording = Callable[..., Path]


@dataclass(frozen=True)
class Made:
    """A field of which only `map` is drawn pixel by pixel."""

    map: npt.NDArray[np.float64]
    centre: tuple[float, float]
    radius: float


def bell(radius: float, shape: tuple[int, int] = (32, 32)) -> Made:
    rows, columns = (np.arange(size) - size // 2 for size in shape)
    weights = np.exp(-(rows[:, None] ** 2 + columns**2) / radius**2)
    return Made(weights / weights.sum(), (shape[0] / 2, shape[1] / 2), radius)


class Bells:
    """Fields whose radius is three times the reach of the first layer's synapses."""

    iteration = 123_456

    def __init__(self, shape: tuple[int, int] = (32, 32)) -> None:
        self.asked: list[Mapping[str, npt.NDArray[Any]]] = []
        self._shape = shape

    def fixed_grid(self) -> Made:
        return bell(3.0, self._shape)

    def learned(self, positions: Mapping[str, npt.NDArray[Any]]) -> Made:
        self.asked.append(positions)
        return bell(3.0 * float(np.abs(positions["conv0"]).max()), self._shape)


def texts(figure: FieldFigure) -> list[str]:
    return [text.get_text() for text in figure.figure.findobj(Text) if text.get_text()]


def frames(
    radii: list[float], shape: tuple[int, int] = (32, 32), *, name: str = "run", title: str | None = None
) -> FieldFrames:
    iterations = 100 * np.arange(len(radii))
    positions = {"conv0": np.zeros((len(radii), 1, 9, 2), np.float32)}
    curve = TrainingCurve(np.array([100]), np.array([8.0]), np.array([200]))
    return FieldFrames(
        recording=Recording(iterations, positions, {}, warm_up=150, hidden=None, curve=curve),
        schedule=FrameSchedule(
            iterations, np.arange(len(radii), dtype=np.float64), np.arange(len(radii)), Pace.MOVEMENT
        ),
        learned=[bell(radius, shape) for radius in radii],
        fixed=bell(3.0, shape),
        weights=123_456,
        title=default_title(name) if title is None else title,
    )


def figure(drawn: FieldFrames, theme: Theme = LIGHT, dots_per_inch: float = 100.0) -> FieldFigure:
    return FieldFigure(drawn, dots_per_inch, FieldTheme.of(theme))


def test_every_frame_is_a_recorded_snapshot(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(2, iterations=60, warm_up=10, drift=1.0)
    fields = Bells()
    drawing: list[tuple[int, int]] = []
    computing: list[tuple[int, int]] = []
    report = render_receptive_field(
        path,
        lambda: fields,
        tmp_path / "a.gif",
        frames=8,
        fps=25,
        width=800,
        progress=lambda done, total: drawing.append((done, total)),
        computing=lambda done, total: computing.append((done, total)),
    )
    assert drawing == computing == [(n, 8) for n in range(1, 9)]
    recorded = SnapshotFile(path)
    for asked in fields.asked:
        # Both layers of one snapshot, bit by bit: nothing lies between two of them.
        assert any(
            all(np.array_equal(recorded.positions(name)[number], asked[name]) for name in ("conv0", "conv1"))
            for number in range(len(recorded))
        )
    assert (report.frames, report.fps, report.width) == (8, 25.0, 800)
    assert (report.weights_iteration, report.first_iteration, report.last_iteration) == (123_456, 0, 60)
    assert report.fixed_radius == report.first_radius == pytest.approx(3)
    assert report.last_radius == pytest.approx(6)
    assert report.fixed_centre == report.last_centre == (16, 16)
    with Image.open(report.path) as image:
        assert (image.n_frames, image.size) == (8, (800, report.height))


@pytest.mark.parametrize("snapshots", [1, 2, 5])
@pytest.mark.parametrize("frames", [None, 50])
def test_few_snapshots_are_as_many_frames(
    make_recording: MakeRecording, tmp_path: Path, snapshots: int, frames: int | None
) -> None:
    fields = Bells()
    path = make_recording(1, iterations=snapshots - 1, warm_up=0)
    assert (
        render_receptive_field(path, lambda: fields, tmp_path / "a.gif", frames=frames, width=800).frames == snapshots
    )
    assert len(fields.asked) == snapshots


def test_a_title_that_is_given_stands_alone() -> None:
    assert "Any words" in texts(figure(frames([3.0], title="Any words")))
    assert default_title("") == "where the centre unit looks"


def test_a_still_shows_the_last_snapshot_over_the_whole_curve(make_recording: MakeRecording, tmp_path: Path) -> None:
    fields = Bells()
    report = render_receptive_field(make_recording(1, iterations=300), lambda: fields, tmp_path / "a.png", last=200)
    assert report.frames == 1
    assert report.last_iteration == 200
    assert len(fields.asked) == 60


def test_a_still_of_any_recorded_iteration(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(1, iterations=300, warm_up=0)
    report = render_receptive_field(path, Bells, tmp_path / "a.png", iteration=77)
    assert report.frames == 1
    assert (report.first_iteration, report.last_iteration) == (0, 77)
    assert report.last_radius == pytest.approx(3 * (1 + 77 / 300))
    with pytest.raises(UserError, match="has no snapshot of iteration 301"):
        render_receptive_field(path, Bells, tmp_path / "a.png", iteration=301)
    with pytest.raises(UserError, match="one iteration is a still"):
        render_receptive_field(path, Bells, tmp_path / "a.gif", iteration=77)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_a_frame_looks_as_it_did(theme: Theme) -> None:
    path = Path(__file__).parent / "golden" / f"field_{theme.name}.png"
    picture = figure(frames([3.0] * 3 + [3.0 + 0.2 * step for step in range(14)]), theme)
    for text in picture.figure.findobj(Text):
        # Letters that each stand a little aside in another version of Matplotlib are far aside at the end of a line.
        text.set_visible(len(text.get_text()) < 12)  # type: ignore[attr-defined]
    drawn = Image.fromarray(picture.pixels(12).copy())
    if os.environ.get("ACU_WRITE_GOLDEN"):
        drawn.quantize(128, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
    with Image.open(path) as stored:
        assert drawn.size == stored.size
        assert farthest(drawn, stored) < TOLERANCE
        # What is missing or elsewhere is seen.
        for wrong in (11, 0, 16):
            assert farthest(Image.fromarray(picture.pixels(wrong).copy()), stored) > TOLERANCE


def test_a_field_is_computed_once_however_often_its_frame_is_drawn(
    make_recording: MakeRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = Bells()
    path = make_recording(1, iterations=40, warm_up=2)
    monkeypatch.setattr(picture_file, "LARGEST_BYTES", 30_000)
    report = render_receptive_field(path, lambda: fields, tmp_path / "a.gif", width=800)
    assert report.frames < 41
    reaches = [float(np.abs(asked["conv0"]).sum()) for asked in fields.asked]
    moved = [reach for reach in reaches if reach > min(reaches)]
    assert len(moved) == len(set(moved))


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_the_picture_says_what_it_shows(theme: Theme) -> None:
    picture = figure(frames([3.0, 3.0, 4.5, 2.4]), theme)
    assert picture.frames == 4
    picture.show(2)
    said = texts(picture)
    assert "run: where the centre unit looks" in said
    assert "how much each pixel can count, at most; weights of iteration 123,456 in both" in said
    assert "share in each pixel, square-root scale" in said
    assert {"fixed grid", "learned", "RMS radius 3.00 px", "RMS radius 4.50 px  +50.0 %"} <= set(said)
    assert {"RMS radius learned", "the same below", "fixed grid", "learning rate falls"} <= set(said)
    assert {"iteration", "200", "3 px", "4 px"} <= set(said)
    picture.show(3)
    assert {"RMS radius 2.40 px  \N{MINUS SIGN}20.0 %", "iteration", "300"} <= set(texts(picture))


def luminance(colour: Any) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], channels))


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_own_texts_are_large_and_contrast_with_the_paper(theme: Theme) -> None:
    picture = figure(frames([3.0, 4.0]), theme)
    picture.show(1)
    own = ("RMS", "share", "how", "run", "fixed", "learned", "that", "3", "4")
    chosen = [t for t in picture.figure.findobj(Text) if t.get_text().startswith(own)]
    chosen += [t for axes in picture.figure.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert len(chosen) > 15
    for text in chosen:
        lighter, darker = sorted((luminance(text.get_color()), luminance(theme.paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, text
        assert text.get_fontsize() * 100 / 72 >= 11, text


def lightness(colour: Any) -> float:
    return float(116 * luminance(colour) ** (1 / 3) - 16) if luminance(colour) > 0.008856 else 903.3 * luminance(colour)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_the_scale_begins_with_the_panel_and_its_lightness_never_turns(theme: Theme) -> None:
    scale = FieldTheme.of(theme).field
    assert scale[0] == pytest.approx(theme.panel)
    steps = np.diff([lightness(colour) for colour in scale])
    assert bool((steps < 0).all()) if theme is LIGHT else bool((steps > 0).all())
    # Even enough that nothing stands out as an edge that is none.
    assert np.abs(steps).max() < 5 * np.abs(steps).mean()


def panel_pixels(picture: FieldFigure, frame: int, axes: int) -> npt.NDArray[np.uint8]:
    shown = picture.pixels(frame)
    box = picture.figure.axes[axes].get_window_extent()
    height = shown.shape[0]
    return shown[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_pixels_have_the_colour_of_their_share_on_one_scale(theme: Theme) -> None:
    drawn = frames([3.0, 5.0])
    picture = figure(drawn, theme)
    scale = np.round(255 * np.array(FieldTheme.of(theme).field)).astype(int)
    largest = float(drawn.fixed.map.max())  # type: ignore[union-attr]
    # The header's scale is the first of the axes, then come the two panels.
    for axes, field in ((1, drawn.fixed), (2, drawn.learned[1])):
        pixels = panel_pixels(picture, 1, axes).astype(int)
        cell = pixels.shape[0] / 32
        for y, x in ((0, 0), (16, 25), (20, 7), (28, 16)):
            share = float(np.asarray(field.map)[y, x]) / largest
            step = min(63, int(share**0.5 * 64))
            found = pixels[int((y + 0.5) * cell), int((x + 0.5) * cell)]
            assert np.abs(found - scale[step]).max() <= 2, (axes, y, x)


def test_rings_stand_around_the_mean_places_in_pixels_of_the_input() -> None:
    picture = figure(frames([3.0, 6.0]))
    picture.show(1)
    fixed, learned = picture.figure.axes[1:3]
    (ring,) = [patch for patch in fixed.patches if patch.get_linestyle() != "-"]
    assert ring.get_radius() == 3  # type: ignore[attr-defined]
    rings = [patch.get_radius() for patch in learned.patches]  # type: ignore[attr-defined]
    assert rings == [3, 6]
    assert learned.patches[1].get_center() == (16, 16)  # type: ignore[attr-defined]
    assert learned.get_xlim() == (-0.5, 31.5)
    assert learned.get_ylim() == (31.5, -0.5)


@pytest.mark.parametrize("shape", [(1, 1), (17, 17), (32, 48), (224, 224), (300, 100)])
def test_images_of_any_size_fit(shape: tuple[int, int]) -> None:
    picture = figure(frames([3.0], shape, name="a-run-with-a-name-that-is-far-too-long-for-any-title-of-a-picture"))
    width, height = picture.size
    assert width == 800
    assert height % 2 == 0
    pixels = picture.pixels(0)
    assert pixels.shape == (height, width, 3)
    renderer = picture.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = {
        text.get_text(): text.get_window_extent(renderer)
        for text in picture.figure.findobj(Text)
        if text.get_text() and text.get_visible()
    }
    title = next(box for text, box in boxes.items() if "looks" in text)
    scale = next(box for text, box in boxes.items() if text.startswith("share"))
    assert title.x1 < scale.x0
    names = [boxes["fixed grid"], boxes["RMS radius 3.00 px"], boxes["learned"]]
    for left, right in pairwise(names):
        assert left.x1 < right.x0
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes.values())


def test_ticks_are_few_and_round() -> None:
    for size in (1, 2, 9, 17, 32, 64, 100, 224, 299, 4096):
        ticks = pixel_ticks(size)
        assert ticks[0] == 0
        assert len(ticks) <= 5
        assert ticks[-1] < size
    assert pixel_ticks(32) == [0, 8, 16, 24]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".svg", ".pdf"])
def test_every_format_is_written(make_recording: MakeRecording, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"a{suffix}"
    report = render_receptive_field(
        make_recording(1, iterations=9), Bells, output, frames=None if suffix in ".png.svg.pdf" else 3, theme=DARK
    )
    assert report.bytes == output.stat().st_size > 1000


def test_a_gif_shows_the_scale_exactly(make_recording: MakeRecording, tmp_path: Path) -> None:
    output = tmp_path / "a.gif"
    render_receptive_field(make_recording(1, iterations=40, warm_up=5), Bells, output, frames=12)
    allowed = np.round(255 * np.array(FieldTheme.of(LIGHT).field)).astype(int)
    with Image.open(output) as image:
        image.seek(11)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    # A corner of the learned panel, away from the rings: every pixel is a step of the scale.
    part = pixels[120:180, 440:500].reshape(-1, 3)
    assert np.abs(part[:, None] - allowed).max(axis=-1).min(axis=1).max() <= 1


def test_what_cannot_be_met_leaves_the_old_file_and_opens_no_network(
    make_recording: MakeRecording, tmp_path: Path
) -> None:
    path = make_recording(1)
    output = tmp_path / "old.gif"
    output.write_bytes(b"old")

    def never() -> Bells:
        raise AssertionError("opened")

    for options in ({"frames": 0}, {"fps": 0.0}, {"width": 10}, {"first": 1000}):
        with pytest.raises(UserError):
            render_receptive_field(path, never, output, **options)  # type: ignore[arg-type]
    assert output.read_bytes() == b"old"

    class Refused(Bells):
        def learned(self, positions: Mapping[str, npt.NDArray[Any]]) -> Made:
            raise UserError("no bound")

    with pytest.raises(UserError, match="no bound"):
        render_receptive_field(path, Refused, output)
    assert output.read_bytes() == b"old"


def test_the_default_output_is_in_the_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "", {})
    assert default_field_output(run.path) == run.figures / "receptive-field.gif"
    with pytest.raises(UserError, match="there is no run"):
        default_field_output(tmp_path / "none")
