from __future__ import annotations

from pathlib import Path

import numpy as np

from acu_cli.watch.playback import OPENING, Playback
from acu_core.runs.snapshot_follower import SnapshotFollower
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

LAYER = LayerEntry("a", 1, 4)


def append(writer: SnapshotWriter, first: int, last: int) -> None:
    numbers = np.arange(first, last + 1)
    positions = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 1, 4, 2)).astype(np.float32)
    writer.append_block(numbers, [positions], [np.ones((len(numbers), 1, 4), np.float32)])


def begin(path: Path, last: int) -> tuple[SnapshotWriter, SnapshotFollower, Playback]:
    writer = SnapshotWriter.create(path, [LAYER])
    append(writer, 0, last)
    follower = SnapshotFollower(path)
    follower.poll()
    return writer, follower, Playback(follower)


def test_a_block_is_played_while_the_next_is_awaited(tmp_path: Path) -> None:
    writer, follower, playback = begin(tmp_path / "p", 10)
    assert playback.advance(0.0)
    assert playback.iteration == 10
    seen = [10]
    for block in range(1, 4):
        append(writer, 50 * block - 39, 50 * block + 10)
        follower.poll()
        for frame in range(5):
            playback.advance(0.5 * block + 0.1 * frame)
            seen.append(playback.iteration)
    # Every frame another one, never far from the one before, and never more than a block behind.
    assert seen[1] == 11
    assert all(1 <= step <= 13 for step in np.diff(seen))
    assert seen[5] >= 40
    assert seen[10] >= 90
    assert playback.is_playing
    assert playback.advance(2.0)
    assert (playback.iteration, playback.is_playing) == (160, False)
    # Shown are recorded shapes, nothing between them.
    assert (playback.positions[:, 0, 0] == playback.iterations).all()
    writer.close()


def test_a_single_snapshot_is_shown_at_once(tmp_path: Path) -> None:
    writer, follower, playback = begin(tmp_path / "p", 0)
    playback.advance(0.0)
    append(writer, 1, 1)
    follower.poll()
    assert playback.advance(1.0)
    assert playback.iteration == 1
    assert not playback.advance(1.1)
    writer.close()


def test_a_long_run_is_opened_at_its_end(tmp_path: Path) -> None:
    writer, _, playback = begin(tmp_path / "p", 5000)
    playback.advance(0.0)
    assert playback.iteration == 5000
    assert playback.iterations[0] == 0
    assert OPENING <= len(playback.iterations) < 2.5 * OPENING
    writer.close()


def test_a_quick_beginning_of_a_long_run_is_read_closely(tmp_path: Path) -> None:
    path = tmp_path / "p"
    with SnapshotWriter.create(path, [LAYER]) as writer:
        numbers = np.arange(20_000)
        # Two pixels in the first 200 iterations, nothing afterwards.
        moved = np.minimum(numbers, 200)[:, None, None, None] * np.float32(0.01)
        positions = np.broadcast_to(moved, (len(numbers), 1, 4, 2)).astype(np.float32)
        writer.append_block(numbers, [positions], [np.ones((len(numbers), 1, 4), np.float32)])
    follower = SnapshotFollower(path)
    follower.poll()
    playback = Playback(follower)
    playback.advance(0.0)
    assert np.abs(np.diff(playback.positions, axis=0)).max() < 0.3
    assert (np.diff(playback.iterations) > 0).all()


def test_a_path_stays_when_nothing_moves_any_more(tmp_path: Path) -> None:
    path = tmp_path / "p"
    with SnapshotWriter.create(path, [LAYER]) as writer:
        follower = SnapshotFollower(path)
        playback = Playback(follower)
        for number in range(3000):
            position = np.full((1, 4, 2), min(number, 100) * 0.02 + 1e-4 * (number % 7), np.float32)
            writer.append(number, [position], [np.ones((1, 4), np.float32)])
            follower.poll()
            playback.advance(float(number))
            assert playback.iteration == number
    assert np.abs(np.diff(playback.positions, axis=0)).max() < 0.1
    assert len(playback.iterations) < 300


def test_what_is_kept_is_bounded_and_keeps_its_ends(tmp_path: Path) -> None:
    writer, follower, playback = begin(tmp_path / "p", 0)
    playback.advance(0.0)
    for number in range(1, 2000):
        append(writer, number, number)
        follower.poll()
        playback.advance(float(number))
    assert len(playback.iterations) < 500
    assert (playback.iterations[0], playback.iteration) == (0, 1999)
    assert (np.diff(playback.iterations) > 0).all()
    writer.close()


def test_the_end_is_shown_at_once_when_it_is_the_end(tmp_path: Path) -> None:
    writer, follower, playback = begin(tmp_path / "p", 3)
    playback.advance(0.0)
    append(writer, 4, 100)
    follower.poll()
    playback.advance(0.1, to_end=True)
    assert (playback.iteration, playback.is_playing) == (100, False)
    writer.close()
