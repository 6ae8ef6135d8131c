from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import closing

import numpy as np
import pytest

from acu_core.render import forked_process
from acu_core.render.drawing_processes import draw_frames
from tests.support.counted_picture import Counted, children

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="other systems draw in one process")


def assert_right(picture: Counted, processes: int | None) -> None:
    alone = Counted(picture.frames)
    shown = 0
    with closing(draw_frames(picture, processes)) as frames:
        for frame, pixels in enumerate(frames):
            np.testing.assert_array_equal(pixels, alone.pixels(frame))
            shown += 1
    assert shown == picture.frames


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("frames", [1, 2, 5, 40])
def test_frames_are_the_same_and_in_order_whoever_draws_them(processes: int, frames: int) -> None:
    for four in (True, False):
        picture = Counted(frames, four)
        assert_right(picture, processes)
        assert picture.drawn == ([0] if processes > 1 else list(range(frames)))


def test_the_frames_of_a_process_that_dies_are_drawn_here() -> None:
    picture = Counted(20)
    picture.at[8] = lambda: os.kill(os.getpid(), signal.SIGKILL)
    assert_right(picture, 2)
    assert picture.drawn == [0, *range(8, 20, 2)]


def test_an_error_of_a_process_is_met_here() -> None:
    picture = Counted(20)

    def fail() -> None:
        raise ZeroDivisionError

    picture.at[9] = fail
    assert_right(picture, 2)
    assert picture.drawn == [0, *range(9, 20, 2)]


def test_a_process_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked_process, "PATIENCE_SECONDS", 0.5)
    picture = Counted(12)
    picture.at[4] = lambda: os.kill(os.getpid(), signal.SIGSTOP)
    assert_right(picture, 2)
    assert 4 in picture.drawn


def test_no_process_and_no_open_file_stays_behind() -> None:
    # What earlier tests have forgotten may be closed at any moment, but not after this.
    gc.collect()
    before, others = len(os.listdir("/proc/self/fd")), children()
    frames = draw_frames(Counted(40), 3)
    for _ in range(5):
        next(frames)
    assert len(children() - others) == 3
    frames.close()
    assert children() <= others
    assert len(os.listdir("/proc/self/fd")) == before


def test_beside_other_threads_this_process_draws_alone() -> None:
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        picture = Counted(40)
        assert_right(picture, None)
        assert picture.drawn == list(range(40))
    finally:
        stop.set()
        other.join()


def test_who_takes_the_first_frame_may_begin_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, threads, before = os.fork, [], threading.active_count()

    def fork_and_count() -> int:
        threads.append(threading.active_count())
        return fork()

    monkeypatch.setattr(os, "fork", fork_and_count)
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    with closing(draw_frames(Counted(40), 2)) as frames:
        next(frames)
        other.start()
        try:
            for _ in frames:
                pass
        finally:
            stop.set()
            other.join()
    assert threads == [before, before]


def test_where_no_process_can_be_made_this_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    picture = Counted(9)
    assert_right(picture, 2)
    assert picture.drawn == list(range(9))


def test_ctrl_c_in_the_middle_of_beginning_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork

    def fork_and_interrupt() -> int:
        process = fork()
        if process:
            signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(os, "fork", fork_and_interrupt)
    picture, others = Counted(40), children()
    with pytest.raises(KeyboardInterrupt):
        next(draw_frames(picture, 2))
    assert children() <= others
    assert picture.drawn == [0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
