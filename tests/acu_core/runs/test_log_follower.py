from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.runs import log_follower
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.log_follower import LogFollower, NewEntries


def entry(number: int) -> dict[str, float]:
    return {"iteration": number, "loss": number / 7}


def test_only_new_whole_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = LogFollower(path)
    assert follower.poll() == NewEntries([])
    with LogWriter(path) as log:
        assert follower.poll() == NewEntries([])
        for number in range(1, 4):
            log.append(entry(number))
        assert follower.poll() == NewEntries([entry(1), entry(2), entry(3)])
        assert follower.poll() == NewEntries([])
        log.append(entry(4))
        whole = path.read_bytes()
        for torn in range(len(whole) - 20, len(whole)):
            path.write_bytes(whole[:torn])
            assert follower.poll().entries == []
        path.write_bytes(whole)
        assert follower.poll() == NewEntries([entry(4)])
    assert follower.damage is None


def test_a_log_that_is_cut_back_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = LogFollower(path)
    with LogWriter(path) as log:
        log.append(entry(1))
        kept = log.length
        for number in (2, 3, 4):
            log.append(entry(number))
    follower.poll()
    with LogWriter.open_for_append(path, kept) as log:
        log.cut()
        assert follower.poll() == NewEntries([entry(1)], anew=True)
        log.append(entry(5))
        assert follower.poll() == NewEntries([entry(5)])


def test_a_log_that_was_cut_and_has_grown_longer_since_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = LogFollower(path)
    with LogWriter(path) as log:
        log.append(entry(1))
        kept = log.length
        log.append(entry(2))
    follower.poll()
    with LogWriter.open_for_append(path, kept) as log:
        for number in (12, 13, 14):
            log.append(entry(number))
    assert follower.poll() == NewEntries([entry(1), entry(12), entry(13), entry(14)], anew=True)
    assert follower.damage is None


def test_a_damaged_line_is_named_and_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = LogFollower(path)
    with LogWriter(path) as log:
        log.append(entry(1))
        follower.poll()
        log.append(entry(2))
        log.append(entry(3))
        content = bytearray(path.read_bytes())
        content[content.index(b"0.28")] ^= 1
        path.write_bytes(content)
        found = follower.poll()
        assert found.entries == [entry(1)]
        assert follower.damage is not None
        assert follower.damage.startswith(f"line 2 of {path} is damaged")
        log.append(entry(4))
        # Not once more from the beginning with every line that comes.
        assert follower.poll() == NewEntries([])
    path.unlink()
    assert follower.poll() == NewEntries([], anew=True)
    assert follower.damage is None


def test_a_long_log_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    with LogWriter(path) as log:
        for number in range(1, 101):
            log.append(entry(number))
    monkeypatch.setattr(log_follower, "_MOST_BYTES", 1000)
    follower = LogFollower(path)
    found = follower.poll().entries
    assert 0 < len(found) < 100
    while follower.is_behind:
        found += follower.poll().entries
    assert found == [entry(number) for number in range(1, 101)]
