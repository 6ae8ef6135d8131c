from __future__ import annotations

import gc
import os
import signal
from functools import partial

import pytest

from acu_core.render import forked_process
from acu_core.render.colours import LIGHT
from acu_core.render.gif_file import encode_gif
from tests.support.counted_picture import Counted, children

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="other systems draw in one process")

FRAMES = 120
SAMPLES = [0, 60, 119]


def encode(picture: Counted, processes: int) -> tuple[bytes, list[int]]:
    """The file, and what progress was told."""
    told: list[int] = []
    milliseconds = [50] * picture.frames
    return encode_gif(picture, milliseconds, LIGHT, processes=processes, progress=told.append), told


@pytest.mark.parametrize("frames", [1, 2, 8, 9, 50, FRAMES])
def test_the_file_is_the_same_whoever_encodes_its_blocks(frames: int) -> None:
    alone, told = encode(Counted(frames), 1)
    assert told == list(range(1, frames + 1))
    for processes in (2, 3, 7):
        picture = Counted(frames)
        assert encode(picture, processes) == (alone, told)
        # Here only those that the palette is made of.
        assert len(picture.drawn) <= len(SAMPLES)


@pytest.mark.parametrize("how", ["killed", "failed", "stopped"])
def test_the_blocks_of_a_lost_process_are_encoded_here(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked_process, "PATIENCE_SECONDS", 1.0)

    def fail() -> None:
        raise ZeroDivisionError

    alone, told = encode(Counted(FRAMES), 1)
    picture, others = Counted(FRAMES), children()
    picture.at[61] = {
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "failed": fail,
        "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    }[how]
    content, seen = encode(picture, 2)
    assert content == alone
    # It never falls, though frames of the lost process are encoded again.
    assert seen == sorted(seen)
    assert set(seen) == set(told)
    # The block, from the frame before it on.
    assert picture.drawn == [*SAMPLES, *range(59, 80)]
    assert children() <= others


def test_no_process_and_no_open_file_stays_behind() -> None:
    gc.collect()
    before, others = len(os.listdir("/proc/self/fd")), children()

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    for progress in (lambda done: None, interrupt):
        picture = Counted(FRAMES)
        encoding = partial(encode_gif, picture, [50] * FRAMES, LIGHT, processes=3, progress=progress)
        if progress is interrupt:
            with pytest.raises(KeyboardInterrupt):
                encoding()
        else:
            encoding()
        gc.collect()
        assert children() <= others
        assert len(os.listdir("/proc/self/fd")) == before


def test_where_no_process_can_be_made_this_one_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, _ = encode(Counted(FRAMES), 1)

    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    assert encode(Counted(FRAMES), 2)[0] == alone
