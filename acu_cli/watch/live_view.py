"""The live view: looks at the files, draws, and sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable

from acu_cli.watch.condition import Condition
from acu_cli.watch.live_screen import LiveScreen
from acu_cli.watch.watch_picture import WatchPicture

TICK = 0.09
"""Seconds from one frame to the next while something moves: eleven a second."""
_LOOK_SECONDS = 0.25
"""From one look at the files to the next: a training writes into them some two times a second."""
_CLOCK_SECONDS = 1.0
PLAIN_ROWS = 24
_LAST_ROWS = 30
_REPAIR_SECONDS = 10.0
"""What others write onto the screen is gone after so long."""


def last_lines(picture: WatchPicture, screen: LiveScreen) -> list[str]:
    """What stays on the terminal when the view has ended."""
    rows, columns = screen.size
    if picture.run.poll_all():
        picture.restart()
    picture.playback.advance(time.monotonic(), to_end=True)
    page = picture.draw(min(rows - 2, _LAST_ROWS), columns, ascii_only=screen.ascii_only)
    return _without_end(page.lines(screen.attributes))


def plain_lines(picture: WatchPicture, columns: int, *, ascii_only: bool) -> list[str]:
    """The picture where there is no terminal."""
    return _without_end(picture.draw(PLAIN_ROWS, columns, ascii_only=ascii_only).lines())


def _without_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines.pop()
    return lines


def watch_run(picture: WatchPicture, screen: LiveScreen, pause: Callable[[float], bool]) -> None:
    """Shows a run until it is finished, or `pause`, which sleeps for so many seconds, says that it is enough."""
    run, playback = picture.run, picture.playback
    drawn_at = repaired_at = looked_at = -_REPAIR_SECONDS
    size = (0, 0)
    state: object = None
    while True:
        now = time.monotonic()
        if run.is_behind or now - looked_at >= _LOOK_SECONDS:
            looked_at = now
            if run.poll():
                picture.restart()
        finished = run.condition is Condition.FINISHED and not run.is_behind
        moved = playback.advance(now, to_end=finished)
        before, state = state, (run.done, run.condition, len(run.problems), picture.message, run.is_locked)
        resized = screen.size != size
        if moved or state != before or resized or now - drawn_at >= _CLOCK_SECONDS:
            size, drawn_at = screen.size, now
            anew = now - repaired_at >= _REPAIR_SECONDS
            repaired_at = now if anew or resized else repaired_at
            screen.show(picture.draw(*size, ascii_only=screen.ascii_only), anew=anew)
        if finished:
            return
        # A slow training has fewer snapshots to show than there could be frames: it sleeps until the next one is due.
        wake_at = max(now + TICK, min(looked_at + _LOOK_SECONDS, playback.next_at))
        if pause(0.0 if run.is_behind else max(0.01, wake_at - time.monotonic())):
            return
