from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_run import LAYERS, WrittenRun

from acu_cli.watch.followed_run import FollowedRun
from acu_cli.watch.page import Style
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
