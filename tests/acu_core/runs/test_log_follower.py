from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.runs import log_follower
from acu_core.runs.json_lines import LogWriter, read_log
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


def read_to_its_end(follower: LogFollower) -> list[dict[str, object]]:
    found = follower.poll().entries
    for _ in range(100):
        if not follower.is_behind:
            return found
        found += follower.poll().entries
    raise AssertionError("it never comes to the end")


def test_a_long_torn_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with LogWriter(path) as log:
        for number in range(1, 4):
            log.append(entry(number))
        kept = log.length
    with path.open("ab") as file:
        file.write(bytes(3 << 20))
    follower = LogFollower(path)
    assert read_to_its_end(follower) == read_log(path) == [entry(1), entry(2), entry(3)]
    assert follower.damage is None
    with LogWriter.open_for_append(path, kept) as log:
        log.append(entry(4))
    assert read_to_its_end(follower) == [entry(1), entry(2), entry(3), entry(4)]


def test_a_long_line_is_read_and_an_endless_one_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_follower, "_MOST_BYTES", 1000)
    monkeypatch.setattr(log_follower, "_LONGEST_LINE", 7000)
    path = tmp_path / "metrics.jsonl"
    with LogWriter(path) as log:
        log.append({"text": "a" * 6900})
        log.append(entry(2))
        follower = LogFollower(path)
        assert read_to_its_end(follower) == [{"text": "a" * 6900}, entry(2)]
        log.append({"text": "a" * 7000})
    # Read once more from the beginning, in case that it begins again.
    assert read_to_its_end(follower) == [{"text": "a" * 6900}, entry(2)]
    assert follower.damage is not None
    assert follower.damage.startswith(f"line 3 of {path} is damaged: it has no end within 7,000 bytes;")


@pytest.mark.parametrize("most_bytes", [1 << 20, 100])
def test_a_log_may_be_cut_and_grow_longer_many_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(log_follower, "_MOST_BYTES", most_bytes)
    path = tmp_path / "metrics.jsonl"
    LogWriter(path).close()
    follower, kept = LogFollower(path), 0
    for last in (10, 15, 20, 25):
        with LogWriter.open_for_append(path, kept) as log:
            for number in range(last):
                log.append({"iteration": number, "loss": last / 7})
                kept = log.length if number == 3 and last == 10 else kept
        found: list[dict[str, object]] = []
        for _ in range(100):
            new = follower.poll()
            found = new.entries if new.anew else [*found, *new.entries]
            if not follower.is_behind:
                break
        assert follower.damage is None
        if last > 10:
            assert found == read_log(path)
