"""`acu watch`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.priority import give_way


def watch(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run's directory. Default: the newest one in runs/.", show_default=False),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to show, with commas between; * stands for any letters.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show the run as it is now, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print where the run stands as JSON, and end.")] = False,
) -> None:
    """Watch a run that is being trained: its shapes, its loss and its test error, live in the terminal.

    Only the run's files are read: Ctrl-C ends the view, the training goes on.
    """
    from acu_cli.watch.condition import Condition
    from acu_cli.watch.followed_run import FollowedRun, newest_run
    from acu_cli.watch.live_screen import LiveScreen, TerminalGoneError, is_ascii
    from acu_cli.watch.live_view import last_lines, plain_lines, watch_run
    from acu_cli.watch.standing import standing
    from acu_cli.watch.watch_picture import WatchPicture

    followed = FollowedRun(newest_run(Path("runs")) if run is None else run)
    followed.poll_all()
    picture = WatchPicture(followed, terminal.names(layers))
    picture.playback.advance(time.monotonic())
    # What is wrong with the patterns is said before the screen changes.
    picture.chosen()
    if json:
        terminal.json(standing(picture))
        return
    if not terminal.is_live(sys.stdout):
        terminal.print("\n".join(plain_lines(picture, terminal.width(), ascii_only=is_ascii(sys.stdout.encoding))))
        return
    screen = LiveScreen(sys.stdout.fileno(), encoding=sys.stdout.encoding)
    try:
        if not once and followed.condition is not Condition.FINISHED:
            give_way()
            picture.way_out = "Ctrl-C ends the view"
            try:
                with screen:
                    watch_run(picture, screen, _sleep)
            finally:
                picture.way_out = ""
        terminal.print("\n".join(last_lines(picture, screen)))
    except KeyboardInterrupt:
        # How one ends it: nothing went wrong.
        terminal.print("\n".join(last_lines(picture, screen)))
    except TerminalGoneError:
        return


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
