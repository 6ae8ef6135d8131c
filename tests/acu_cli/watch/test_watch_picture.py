from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from written_run import LAYERS, WrittenRun

from acu_cli.watch.curve_panel import PERCENT, put_curve
from acu_cli.watch.followed_run import FollowedRun
from acu_cli.watch.page import Page, Style, shortened
from acu_cli.watch.watch_picture import WatchPicture


def picture(path: Path, *patterns: str) -> WatchPicture:
    run = FollowedRun(path)
    run.poll_all()
    drawn = WatchPicture(run, list(patterns) or None)
    drawn.playback.advance(0.0)
    return drawn


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with WrittenRun(tmp_path_factory.mktemp("runs") / "run") as written:
        written.go_on(30)
        written.evaluate(40)
        written.go_on(60)
        written.evaluate(20)
    return written.run.path


@pytest.mark.parametrize("ascii_only", [False, True])
def test_it_fits_any_terminal(path: Path, ascii_only: bool) -> None:
    drawn = picture(path)
    for rows in (1, 4, 5, 9, 14, 24, 50, 70):
        for columns in (1, 11, 20, 26, 35, 60, 80, 132, 300):
            lines = drawn.draw(rows, columns, ascii_only=ascii_only).lines()
            assert len(lines) == rows
            assert all(len(line) <= columns for line in lines)
            assert not ascii_only or all(line.isascii() for line in lines)


def test_a_larger_terminal_shows_more(path: Path) -> None:
    drawn = picture(path)
    names = [layer.name for layer in LAYERS]
    small, large = ("\n".join(drawn.draw(*size).lines()) for size in ((16, 40), (40, 160)))
    assert all(name in large for name in names)
    assert not all(name in small for name in names)
    # Those that moved most: the later ones of the table.
    assert f"of {len(names)} layers" in small
    assert names[0] not in small


def test_chosen_layers(path: Path) -> None:
    text = "\n".join(picture(path, "stage2.*").draw(24, 100).lines())
    assert "stage2.0.conv" in text
    assert "stage1.0.conv" not in text
    assert "stem" not in text


def test_the_bar_shows_warm_up_and_divisions(path: Path) -> None:
    page = picture(path).draw(24, 100)
    assert [Style(style) for style in page.styles[2, [0, 9, 10, 59, 60, 99]]] == [
        Style.WARM_UP,
        Style.WARM_UP,
        Style.DONE,
        Style.DONE,
        Style.MUTED,
        Style.MUTED,
    ]


def test_marks_have_the_legend(path: Path) -> None:
    page = picture(path).draw(40, 160)
    foot = "".join(map(chr, page.characters[-1]))
    assert "synapse" in foot
    # Nothing is known of a hidden shape here.
    assert "hidden" not in foot
    assert {int(Style.SYNAPSE), int(Style.START), int(Style.GRID)} <= set(np.unique(page.styles).tolist())


@pytest.fixture(scope="module")
def long_numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a twin, both evaluated, that has only begun on its million of iterations."""
    with WrittenRun(tmp_path_factory.mktemp("runs") / "a run with a long name", 1_234_567) as written:
        written.go_on(1_300)
        written.evaluate(36)
    return written.run.path


@pytest.mark.parametrize("trains_twin", [False, True])
@pytest.mark.parametrize("speed", [None, 396.2])
def test_no_number_is_ever_cut(
    long_numbers: Path, trains_twin: bool, speed: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FollowedRun, "speed", speed)
    monkeypatch.setattr(FollowedRun, "seconds_left", None if speed is None else 7 * 3600.0 + 23 * 60)
    monkeypatch.setattr(FollowedRun, "trains_twin", trains_twin)
    # Named by its path in what goes on with it: that shall hold no numbers.
    monkeypatch.chdir(long_numbers.parent)
    drawn = picture(Path(long_numbers.name))
    drawn.run.twin = drawn.run.log
    wide = "\n".join(drawn.draw(60, 300).lines())
    whole = {"1,300", "1,234,567", "36.00", *(("396.2", "7", "23") if speed else ())}
    assert whole <= set(re.findall(NUMBER, wide))
    for rows in (8, 15, 24):
        for columns in range(20, 140):
            drawn.message = "1,000,000 numbers" if rows % 2 else ""
            text = "\n".join(drawn.draw(rows, columns, ascii_only=True).lines())
            # The names of layers hold numbers, too, and those of how many are shown are short.
            text = re.sub(r"stage\S*|\S*~\S*|\S*conv|\d of 7 layers|[\d.]+ px", "", text)
            curves = r"-?\d\.\d\d|\d\d\.\d|1,000,000|0\.00\d\d"
            cut = {number for number in re.findall(NUMBER, text) if not re.fullmatch(curves, number)} - whole
            assert not cut, (rows, columns)
            # The most important ones are always there.
            assert "1,300" in text


NUMBER = r"\d[\d,.]*(?<![,.])"


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("one two", 7, "one two"),
        ("one two", 6, "one \u2026"),
        ("one two", 5, "one \u2026"),
        ("one two", 4, "\u2026"),
        ("one two", 0, ""),
    ],
)
def test_sentences_end_between_words(text: str, room: int, expected: str) -> None:
    assert shortened(text, room) == expected


def test_an_axis_of_errors_stays_possible() -> None:
    for error, expected in ((90.82, ["100.0", "45.4"]), (0.0, ["0.1", "0.0"]), (100.0, ["100.0", "50.0"])):
        page = Page(5, 40)
        put_curve(page, 0, 0, 5, 40, np.array([error]), Style.ERROR, digits=1, bounds=PERCENT)
        lines = page.lines()
        assert [lines[0][:6].strip(), lines[-1][:6].strip()] == expected


def test_large_values_keep_their_digits_in_front() -> None:
    page = Page(5, 40)
    put_curve(page, 0, 0, 5, 40, np.array([1.0, 123456.0, 3e30]), Style.LOSS, digits=2)
    assert page.lines()[0].split()[0] == "3e+30"


def test_an_error_is_shown_with_the_shapes_it_belongs_to(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        written.evaluate(40)
        drawn = picture(written.run.path)
        written.go_on(60)
        written.evaluate(20)
        drawn.run.poll_all()
        assert drawn.playback.iteration == 30
        assert "test error 40.00 % at 30" in "\n".join(drawn.draw(24, 80).lines())
        drawn.playback.advance(1.0, to_end=True)
        assert "test error 20.00 % at 60" in "\n".join(drawn.draw(24, 80).lines())


def test_no_room_for_shapes_is_said(path: Path) -> None:
    assert "larger terminal" in picture(path).draw(10, 40).lines()[-1]
    assert picture(path).draw(8, 20).lines()[-1] == "Too small for shapes"


def test_how_to_leave_is_said_beside_how_to_go_on(path: Path) -> None:
    drawn = picture(path)
    assert "Ctrl-C" not in "\n".join(drawn.draw(24, 300).lines())
    drawn.way_out = "Ctrl-C ends the view"
    line = drawn.draw(24, 300).lines()[3]
    assert line.endswith("Ctrl-C ends the view")
    assert f"`acu train --resume {path}`" in line
    assert drawn.draw(24, 40).lines()[3].strip() == "Ctrl-C ends the view"
