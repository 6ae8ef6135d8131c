from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyte
import pytest
from written_run import WrittenRun

from acu_cli.watch import live_view
from acu_cli.watch.followed_run import FollowedRun
from acu_cli.watch.live_screen import LiveScreen
from acu_cli.watch.live_view import watch_run
from acu_cli.watch.watch_picture import WatchPicture


class Session:
    """A view of a run on a terminal, under a clock that only its pauses move."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.controller, self.terminal = pty.openpty()
        stack.callback(os.close, self.controller)
        stack.callback(os.close, self.terminal)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.received = 0
        self.shown = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.shown)
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.written = WrittenRun(path)
        stack.enter_context(self.written)
        self.written.go_on(0)
        self.run = FollowedRun(path)
        self.picture = WatchPicture(self.run)
        self.screen = LiveScreen(self.terminal, encoding="utf-8")
        self.looks: list[float] = []
        poll = self.run.poll

        def counted() -> bool:
            self.looks.append(self.now)
            return poll()

        monkeypatch.setattr(self.run, "poll", counted)
        self.seen: list[tuple[float, int]] = []
        """When which iteration was to be read."""
        self.text = ""

    def watch(self, step: Callable[[], bool]) -> None:
        """Watches until `step`, which is called at every pause, says that it is enough."""

        def pause(seconds: float) -> bool:
            self.read()
            message = self.picture.message
            end = step()
            # What is said ends a pause.
            self.now += seconds if self.picture.message == message else 0.0
            return end

        with self.screen:
            watch_run(self.picture, self.screen, pause)

    def read(self) -> None:
        """Sees what is on the screen."""
        # A terminal passes on what is written a little later.
        while self.received < self.screen.written and select.select([self.controller], [], [], 10.0)[0]:
            content = os.read(self.controller, 1 << 16)
            self.received += len(content)
            self.stream.feed(content)
        self.text = "\n".join(self.shown.display)
        found = re.search(r"iteration (\d+) of", self.text)
        if found:
            self.seen.append((self.now, int(found[1])))


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    with ExitStack() as stack:
        yield Session(tmp_path / "run", monkeypatch, stack)


def test_frames_that_are_drawn_ahead_come_at_their_times(session: Session) -> None:
    end = session.now + 8.0
    blocks = iter([(session.now + 0.45 + 0.5 * number, 5 * (number + 1)) for number in range(14)])
    coming = next(blocks)

    def step() -> bool:
        nonlocal coming
        while coming is not None and session.now >= coming[0]:
            session.written.go_on(coming[1])
            coming = next(blocks, None)
        return session.now >= end

    session.watch(step)
    # Five snapshots in half a second: played one after the other, each seen, none earlier than the one before.
    shown = [iteration for _, iteration in session.seen]
    assert shown == sorted(shown)
    assert set(range(10, 60)) <= set(shown)
    times = {iteration: at for at, iteration in reversed(session.seen)}
    steps = [times[number + 1] - times[number] for number in range(10, 59)]
    assert max(steps) <= 0.25
    # And the files were looked at a few times a second, not at every frame.
    assert len(session.looks) < 3.5 * 8


def test_something_that_is_said_does_not_wait_for_frames_drawn_ahead(session: Session) -> None:
    session.written.go_on(5)
    begun = session.now
    written = False
    said = 0.0

    def step() -> bool:
        nonlocal written, said
        if not written and session.now > begun + 1.0:
            session.written.go_on(20)
            written = True
        number = session.seen[-1][1] if session.seen else 0
        if not said and 5 < number < 20:
            session.picture.message = "mark this"
            said = session.now
        return "mark this" in session.text or session.now > begun + 20.0

    session.watch(step)
    assert "mark this" in session.text
    assert session.now - said <= 4 * live_view.TICK


@pytest.mark.parametrize("disturbance", ["stopped and gone on", "another size", "something said"])
def test_a_screen_that_was_disturbed_is_drawn_as_a_whole(session: Session, disturbance: str) -> None:
    session.written.go_on(5)
    begun = session.now
    written = disturbed = False

    def step() -> bool:
        nonlocal written, disturbed
        if not written and session.now > begun + 1.0:
            session.written.go_on(30)
            written = True
        if not disturbed and session.seen and 5 < session.seen[-1][1] < 30:
            disturbed = True
            if disturbance == "another size":
                fcntl.ioctl(session.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
                session.shown.resize(30, 90)
            elif disturbance == "something said":
                # Frames that were drawn ahead are not written: none of what they changed is on the screen.
                session.picture.message = "mark this"
            else:
                os.kill(os.getpid(), signal.SIGCONT)
            if disturbance != "something said":
                session.shown.erase_in_display(2)
        return session.now > begun + 4.0

    session.watch(step)
    assert disturbed
    session.picture.playback.advance(session.now, to_end=True)
    rows, columns = session.screen.size
    expected = session.picture.draw(rows, columns).lines()
    # As it was before the view left it.
    found = session.text.splitlines()
    if disturbance == "something said":
        assert [line.rstrip() for line in found] == expected
    else:
        assert [line.rstrip() for line in found][:2] == expected[:2]
        # The whole of it, the parts that did not change too.
        assert [bool(line.strip()) for line in found] == [bool(line) for line in expected]


def test_nobody_waits_busily_in_the_background(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.written.go_on(5)
    monkeypatch.setattr(session.screen, "_is_in_background", lambda: True)
    pauses: list[float] = []

    def step() -> bool:
        pauses.append(session.now)
        return session.now > 1005.0

    session.watch(step)
    assert len(pauses) < 5.0 / live_view.TICK + 5
    assert not session.seen
