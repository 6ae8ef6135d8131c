"""The live view: looks at the files, draws, and sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable

from acu_cli.watch.condition import Condition
from acu_cli.watch.live_screen import LiveScreen, PageChange
from acu_cli.watch.watch_picture import WatchPicture

TICK = 0.09
"""Seconds from one frame to the next while something moves: eleven a second."""
_LOOK_SECONDS = 0.5
"""From one look at the files to the next: a training writes into them some two times a second."""
_MISSED_SECONDS = 0.1
"""After a look that found nothing; twice so long after the second one, and so on."""
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
    """Shows a run until it is finished, or `pause`, which sleeps for so many seconds, says that it is enough.

    All frames up to the next look at the files are drawn at once and written at their times: what wakes beside a
    training finds nothing of its own in the caches, so it had better wake for much or for little.
    """
    run, playback = picture.run, picture.playback
    drawn_at = repaired_at = -_REPAIR_SECONDS
    size, missed = (0, 0), 0
    state: object = None
    while True:
        now = time.monotonic()
        known = run.done, len(run.snapshots)
        if run.poll():
            picture.restart()
        # A look that came too early is made up for, so that the next ones come just after something was written.
        missed = missed + 1 if known == (run.done, len(run.snapshots)) else 0
        seconds = _LOOK_SECONDS if missed == 0 else min(_LOOK_SECONDS, _MISSED_SECONDS * missed)
        look_at = now if run.is_behind else now + seconds
        finished = run.condition is Condition.FINISHED and not run.is_behind
        before, state = state, (run.done, run.condition, len(run.problems), picture.message, run.is_locked)
        resized = screen.size != size
        size = screen.size
        must = state != before or resized or now - drawn_at >= _CLOCK_SECONDS
        frames: list[tuple[float, PageChange]] = []
        due = now
        while due <= now or (due < look_at and not finished):
            if playback.advance(due, to_end=finished) or (must and not frames):
                anew = now - repaired_at >= _REPAIR_SECONDS
                repaired_at = now if anew or resized else repaired_at
                frames.append((due, screen.change_to(picture.draw(*size, ascii_only=screen.ascii_only), anew=anew)))
                drawn_at = due
            due = max(due + TICK, playback.next_at)
        message = picture.message
        for due, change in frames:
            while (left := due - time.monotonic()) > 0 and picture.message == message:
                if pause(left):
                    return
            if picture.message != message or screen.size != size or not screen.write(change):
                # What was drawn ahead is void, and none of what it changed is on the screen.
                screen.forget()
                size, look_at = (0, 0), time.monotonic() + TICK
                break
        else:
            if finished:
                return
        if pause(0.0 if run.is_behind else max(0.01, look_at - time.monotonic())):
            return
