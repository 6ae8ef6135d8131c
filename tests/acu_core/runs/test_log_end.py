from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.runs.json_lines import LogWriter
from acu_core.runs.log_end import LogEnd, read_log_end


def write(path: Path, evaluated: int, last: int) -> None:
    with LogWriter(path) as log:
        for number in range(1, last + 1):
            log.append({"iteration": number, "loss": number / 7})
            if number == evaluated:
                log.append({"iteration": number, "test_errors": 3})


@pytest.mark.parametrize(("evaluated", "last"), [(1, 1), (1, 2), (5, 5), (1, 3000), (1500, 3000), (2999, 3000)])
def test_the_last_entry_and_the_last_evaluation(tmp_path: Path, evaluated: int, last: int) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, evaluated, last)
    evaluation = {"iteration": evaluated, "test_errors": 3}
    end = {"iteration": last, "loss": last / 7} if last > evaluated else evaluation
    assert read_log_end(path, "test_errors") == LogEnd(end, evaluation)
    # A torn line is that of a killed writer.
    with path.open("ab") as file:
        file.write(b'{"iteration": 9')
    assert read_log_end(path, "test_errors") == LogEnd(end, evaluation)


def test_nothing_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_log_end(path, "test_errors") == LogEnd()
    path.write_bytes(b"")
    assert read_log_end(path, "test_errors") == LogEnd()
    path.unlink()
    write(path, 0, 5000)
    assert read_log_end(path, "test_errors") == LogEnd({"iteration": 5000, "loss": 5000 / 7}, None)


@pytest.mark.parametrize("place", [-30, -60], ids=["the last line", "a number of it"])
def test_damage_at_the_end_is_told(tmp_path: Path, place: int) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, 5, 3000)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    end = read_log_end(path, "test_errors")
    assert end.last is None
    assert end.damage is not None
    assert str(path) in end.damage


def test_a_log_that_is_no_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    assert read_log_end(tmp_path / "metrics.jsonl", "test_errors").damage is not None


def test_what_is_not_strict_json_is_damage_here_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 1, "test_errors": NaN}\n')
    end = read_log_end(path, "test_errors")
    assert end.last is None
    assert end.damage is not None
    assert "NaN is not strict JSON" in end.damage
