from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from acu_core.errors import UserError
from acu_core.runs import json_lines
from acu_core.runs.json_lines import LogWriter, read_log

ENTRIES = [
    {"iteration": 1, "loss": 0.1},
    {"iteration": 2, "loss": 1e-300, "name": "é\n"},
    {"iteration": 3, "none": None},
]


def write(path: Path) -> list[int]:
    with LogWriter(path) as log:
        lengths = [log.length]
        for entry in ENTRIES:
            log.append(entry)
            lengths.append(log.length)
    return lengths


def test_entries_are_lines_and_floats_are_short_and_exact(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lengths = write(path)
    assert path.stat().st_size == lengths[-1]
    lines = path.read_bytes().splitlines()
    first = b'{"iteration": 1, "loss": 0.1'
    assert lines[0] == first + b', "crc32": "%08x"}' % zlib.crc32(first)
    second = lines[1].partition(b', "crc32"')[0]
    assert lines[1] == second + b', "crc32": "%08x"}' % zlib.crc32(second, zlib.crc32(first))
    assert path.read_bytes().count(b"\n") == 3
    assert read_log(path) == ENTRIES


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), {"deep": [float("nan")]}, object()])
def test_what_is_no_strict_json_is_refused_and_writes_nothing(tmp_path: Path, value: object) -> None:
    path = tmp_path / "metrics.jsonl"
    with LogWriter(path) as log:
        log.append({"a": 1})
        with pytest.raises((ValueError, TypeError)):
            log.append({"b": value})
        assert path.stat().st_size == log.length
    assert read_log(path) == [{"a": 1}]


def test_a_line_torn_at_any_byte_is_ignored_and_cut_when_the_log_goes_on(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    lengths = write(whole)
    content = whole.read_bytes()
    for end in range(lengths[2], lengths[3]):
        torn.write_bytes(content[:end])
        assert read_log(torn) == ENTRIES[:2]
        for length in (None, lengths[2]):
            torn.write_bytes(content[:end])
            with LogWriter.open_for_append(torn, length) as log:
                assert log.length == lengths[2]
                log.append(ENTRIES[2])
                log.sync()
            assert torn.read_bytes() == content


def test_going_on_refuses_wrong_lengths_and_cuts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lengths = write(path)
    content = path.read_bytes()
    with pytest.raises(UserError, match="shortened"):
        LogWriter.open_for_append(path, lengths[-1] + 1)
    with pytest.raises(UserError, match="end of a line"):
        LogWriter.open_for_append(path, lengths[1] + 3)
    with pytest.raises(UserError, match="no log"):
        LogWriter.open_for_append(tmp_path / "none", 0)
    with pytest.raises(UserError, match="exists already"):
        LogWriter(path)
    LogWriter.open_for_append(path, lengths[1]).close()
    assert path.read_bytes() == content, "cut by the first append, or when told to"
    with LogWriter.open_for_append(path, lengths[1]) as log:
        log.cut()
    assert path.read_bytes() == content[: lengths[1]]
    LogWriter(path, replace=True).close()
    assert read_log(path) == []


@pytest.mark.parametrize("line", [b"nonsense", b'{"a": NaN}', b"[1]", b"\xff\xfe", b"", b"{" * 10_000])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n" + b'{"a": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        read_log(path)


def test_a_missing_log_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log"):
        read_log(tmp_path / "none")


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path)
    content = path.read_bytes()
    for place in range(len(content) - 1):
        for bit in (0x01, 0x40):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            with pytest.raises(UserError, match=r"line [123] of .* is damaged"):
                read_log(path)


def test_a_missing_line_and_lines_in_another_order_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for other, number in (([0, 2], 2), ([1, 2], 1), ([0, 2, 1], 2), ([0, 1, 1, 2], 3)):
        path.write_bytes(b"".join(lines[index] for index in other))
        with pytest.raises(UserError, match=f"line {number} of .* its checksum does not fit"):
            read_log(path)


def test_lines_without_a_checksum_are_read_up_to_the_first_that_has_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    old = b'{"iteration": 1}\n{"iteration": 2}\n'
    path.write_bytes(old)
    assert read_log(path) == [{"iteration": 1}, {"iteration": 2}]
    with LogWriter.open_for_append(path) as log:
        log.append({"iteration": 3})
    with LogWriter.open_for_append(path) as log:
        log.append({"iteration": 4})
    assert path.read_bytes().startswith(old)
    assert [entry["iteration"] for entry in read_log(path)] == [1, 2, 3, 4]
    with open(path, "ab") as file:
        file.write(b'{"iteration": 5}\n')
    with pytest.raises(UserError, match=r"line 5 of .* no checksum"):
        read_log(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_directory_is_refused(tmp_path: Path, make: object) -> None:
    path = tmp_path / "metrics.jsonl"
    (os.mkfifo if make is os.mkfifo else os.mkdir)(path)
    with pytest.raises(UserError, match="not a regular file"):
        read_log(path)
    with pytest.raises(UserError, match="not a regular file"):
        LogWriter.open_for_append(path)
    with pytest.raises(UserError, match="cannot be written"):
        LogWriter(path, replace=True)


def test_an_entry_with_a_checksum_of_its_own_is_refused(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log") as log:
        for entry in ({}, {"crc32": 1}):
            with pytest.raises(ValueError, match="crc32"):
                log.append(entry)
        assert log.length == 0


def test_a_usual_log_is_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    entries = [{"iteration": n, "loss": n / 7, "name": 'é "x" \\\n'} for n in range(100)]
    with LogWriter(path) as log:
        for entry in entries:
            log.append(entry)
    line_by_line = json_lines.LineReader(path).entries(path.read_bytes())
    assert list(line_by_line) == entries
    monkeypatch.setattr(json_lines, "LineReader", None)
    assert read_log(path) == entries


@pytest.mark.parametrize(
    "texts",
    [
        # What would be one JSON text if it were put together, and is not line by line.
        ['{"a": [{"b": 1', '{"c": 2}], "d": 3'],
        ['{"a": {"b": 1', '{"c": 2}, "d": 3'],
        ['{"a": 1}, {"b": 2', '{"c": 3'],
        ['{"a": "1', '2", "b": 3'],
        ['{"a": "}', '{", "b": 3'],
        # And what is a log all the same.
        ['{"a": "}"', '{"b": "{"'],
        ['{"a": [1, 2]', '{"b": {"c": 3}'],
        [' {"a": 1', '{"b": 2'],
        ['{"a": 1, "a": 2', '{"b": 2'],
        ['{"a": NaN', '{"b": 2'],
    ],
)
def test_decoding_at_once_and_line_by_line_agree(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    checksum, content = 0, b""
    for text in texts:
        checksum = zlib.crc32(text.encode(), checksum)
        content += text.encode() + b', "crc32": "%08x"}\n' % checksum
    path.write_bytes(content)
    try:
        expected: object = list(json_lines.LineReader(path).entries(content))
    except UserError as error:
        expected = str(error)
    try:
        found: object = read_log(path)
    except UserError as error:
        found = str(error)
    assert found == expected
