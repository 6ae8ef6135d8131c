"""The process that shows a training beside it: `acu train --watch` starts it.

It reads the run's files as `acu watch` does, so the training has nothing to do for it. Its standard input are JSON
lines, {"note": text}, {"warning": text} or {"end": true}, the last one. Without an end the training was killed: then
this process ends too, and says what it was told.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress

from acu_cli import terminal
from acu_cli.output_streams import steady_streams
from acu_cli.priority import give_way
from acu_cli.watch.followed_run import FollowedRun
from acu_cli.watch.live_screen import LiveScreen, TerminalGoneError
from acu_cli.watch.live_view import last_lines, watch_run
from acu_cli.watch.watch_picture import WatchPicture
from acu_core.errors import UserError


class _Messages:
    """What the training says."""

    def __init__(self, picture: WatchPicture) -> None:
        self._picture = picture
        self._training = os.getppid()
        self._rest = b""
        self.said: list[tuple[str, str]] = []
        self.has_ended = self.was_killed = False

    def pause(self, seconds: float) -> bool:
        """Waits so long for something to be said; whether it was the last."""
        ready, _, _ = select.select([0], [], [], seconds)
        if ready:
            content = os.read(0, 1 << 16)
            *lines, self._rest = (self._rest + content).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            self.was_killed = not content and not self.has_ended
        # Its workers may hold the other end when it is gone.
        self.was_killed = self.was_killed or os.getppid() != self._training
        return self.has_ended or self.was_killed

    def _take(self, entry: dict[str, str]) -> None:
        self.has_ended = self.has_ended or "end" in entry
        for kind in ("note", "warning"):
            if kind in entry:
                self.said.append((kind, entry[kind]))
                self._picture.message = " ".join(entry[kind].split())


def main() -> None:
    """Shows a run on standard error; its path is the argument."""
    # The training answers these, and this process ends with it.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    give_way()
    steady_streams()
    try:
        picture = WatchPicture(FollowedRun(sys.argv[1]))
        messages = _Messages(picture)
        screen = LiveScreen(2, encoding=sys.stderr.encoding)
        with suppress(TerminalGoneError):
            with screen:
                watch_run(picture, screen, messages.pause)
                # The run may be finished before all is said.
                while not (messages.has_ended or messages.was_killed):
                    messages.pause(1.0)
            picture.message = ""
            terminal.note("\n".join(last_lines(picture, screen)))
    except UserError:
        # The training goes on without a picture, and says what is wrong itself where it is.
        sys.exit(1)
    if messages.was_killed:
        for kind, text in messages.said:
            (terminal.warning if kind == "warning" else terminal.note)(text)
