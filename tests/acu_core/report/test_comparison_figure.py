from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compared_runs import damage, write_run
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from acu_core.errors import UserError
from acu_core.render.colours import LIGHT
from acu_core.render.still_file import encode_still
from acu_core.report import comparison_figure
from acu_core.report.comparison import compare
from acu_core.report.comparison_figure import Band, check_output, draw_errors

SLOW = "optimizer.learning_rate=0.05"


def pair(folder: Path) -> list[Path]:
    runs = [write_run(folder / f"a{n}", n, {5: 500 + 40 * n, 10: 300, 20: 100 + 20 * n}) for n in range(2)]
    return [*runs, write_run(folder / "b", 0, {10: 400, 20: 50}, SLOW)]


def test_the_band_of_a_group(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", 0, {5: 500, 10: 300, 20: 100}),
        write_run(tmp_path / "b", 1, {5: 540, 15: 1, 20: 120}),
    ]
    band = Band.of(compare(runs).groups[0], pytest.fail)
    assert band is not None
    assert (band.iterations.tolist(), band.n) == ([5, 20], 2)
    assert band.mean.tolist() == [52.0, 11.0]
    assert (band.lowest.tolist(), band.highest.tolist()) == ([50.0, 10.0], [54.0, 12.0])


@pytest.mark.parametrize("name", ["errors.png", "errors.svg", "errors.pdf"])
def test_the_same_picture_twice(tmp_path: Path, name: str) -> None:
    comparison = compare(pair(tmp_path))
    first = draw_errors(comparison, tmp_path / "new" / name).read_bytes()
    assert draw_errors(comparison, tmp_path / name).read_bytes() == first
    assert first[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")


def test_each_group_has_its_colour(tmp_path: Path) -> None:
    path = draw_errors(compare(pair(tmp_path)), tmp_path / "errors.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float) / 255
    for number, expected in ((0, True), (1, True), (2, False)):
        near = np.abs(pixels - np.array(LIGHT.group(number))).max(axis=2) < 0.02
        assert (near.sum() > 500) == expected


def test_a_long_label_stays_within_the_picture(tmp_path: Path) -> None:
    named = "data.options={train_count=123456, test_count=123456}"
    more = ("schedule.divisions=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]", "optimizer.momentum=0.123456789")
    runs = [write_run(tmp_path / "a", 0, 100), write_run(tmp_path / "b", 0, 50, SLOW, named, *more)]
    path = draw_errors(compare(runs), tmp_path / "errors.png")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert len(compare(runs).groups[1].label) > 130
    # The axes end some pixels before the edge; a label that does not fit goes on up to it.
    assert (pixels[:, -4:] == pixels[0, -1]).all()


@pytest.mark.parametrize("count", [2, 12, 24, 30])
def test_the_picture_grows_with_its_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    drawn: list[Figure] = []

    def keeping(figure: Figure, ending: str) -> bytes:
        drawn.append(figure)
        return encode_still(figure, ending)

    monkeypatch.setattr(comparison_figure, "encode_still", keeping)
    rates = [f"optimizer.learning_rate={0.01 * (number + 1):.2f}" for number in range(count)]
    runs = [write_run(tmp_path / str(number), 0, {10: 300, 20: 90 + number}, rate) for number, rate in enumerate(rates)]
    said: list[str] = []
    draw_errors(compare(runs), tmp_path / "errors.png", warn=said.append)
    (figure,) = drawn
    FigureCanvasAgg(figure).draw()
    (axes,), (legend,) = figure.axes, figure.legends
    extent, picture = axes.get_window_extent(), figure.bbox
    assert legend.get_window_extent().y0 >= extent.y1
    assert extent.height > 2.5 * figure.dpi, "the axes keep their room"
    label = axes.yaxis.label.get_window_extent()
    for part in (legend.get_window_extent(), label, axes.xaxis.label.get_window_extent()):
        assert picture.x0 <= part.x0 <= part.x1 <= picture.x1
        assert picture.y0 <= part.y0 <= part.y1 <= picture.y1
    assert extent.y0 <= label.y0 <= label.y1 <= legend.get_window_extent().y0
    names = [text.get_text() for text in legend.get_texts()]
    assert names[0] == "planted (optimizer.learning_rate=0.01), 1 seed"
    assert len(names) == min(count, 25)
    if count == 30:
        assert names[-1] == "and 6 more, which are not drawn"
    assert said == (["the picture shows the first 24 groups, and not the 6 after them"] if count == 30 else [])
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()[:24]}
    # Matplotlib calls all dashes of one's own "--".
    assert len(looks) == min(count, 16)


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end with one of \.png, \.svg, \.pdf"):
        check_output(tmp_path / "errors.gif")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match="is a directory"):
        check_output(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        draw_errors(compare(pair(tmp_path)), tmp_path / "file" / "errors.png")


def test_a_run_whose_log_is_damaged_is_said_and_the_others_drawn(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), seed, {100: 300, 200: 100}, iterations=200) for seed in (0, 1)]
    comparison = compare(runs)
    damage(runs[0] / "metrics.jsonl", 30)
    said: list[str] = []
    draw_errors(comparison, tmp_path / "errors.png", warn=said.append)
    assert len(said) == 1
    assert said[0].endswith("not in the picture")
    damage(runs[1] / "metrics.jsonl", 30)
    with pytest.raises(UserError, match="nothing to draw"):
        draw_errors(comparison, tmp_path / "none.png", warn=said.append)
    assert not (tmp_path / "none.png").exists()
