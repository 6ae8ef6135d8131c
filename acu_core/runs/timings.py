"""`timings.jsonl`: how long a training took, a record of every evaluation; no comparison of runs reads it.

    {"iteration": 500, "session": 0, "seconds": 20.5, "iterations_per_second": 25.1, "evaluation_seconds": 0.7,
     "crc32": ...}

(one line). `session` is the iteration at which the process began that wrote it, `seconds` the time from then to the
beginning of the evaluation. `json_lines` says what a line is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.runs.json_lines import damaged_line, read_log
from acu_core.runs.record import WrongRecordError, check_keys, number, whole_number

_KEYS = frozenset({"iteration", "session", "seconds", "iterations_per_second", "evaluation_seconds"})


@dataclass(frozen=True)
class TimingRecord:
    """The times at one evaluation, in seconds; the speed is that of training alone, None where nothing was trained."""

    iteration: int
    session: int
    seconds: float
    iterations_per_second: float | None
    evaluation_seconds: float

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> TimingRecord:
        """The record of a line. Raises WrongRecordError."""
        check_keys(entry, _KEYS)
        return cls(
            whole_number(entry, "iteration"),
            whole_number(entry, "session"),
            number(entry, "seconds"),
            None if entry["iterations_per_second"] is None else number(entry, "iterations_per_second"),
            number(entry, "evaluation_seconds"),
        )

    def entry(self) -> dict[str, int | float | None]:
        """The values of its line."""
        return {
            "iteration": self.iteration,
            "session": self.session,
            "seconds": self.seconds,
            "iterations_per_second": self.iterations_per_second,
            "evaluation_seconds": self.evaluation_seconds,
        }


def read_timings(path: str | os.PathLike[str]) -> tuple[TimingRecord, ...]:
    """The records of `timings.jsonl`. Raises UserError that names the first line that is damaged or no such record."""
    path = Path(path)
    found = []
    for place, entry in enumerate(read_log(path), start=1):
        try:
            found.append(TimingRecord.from_entry(entry))
        except WrongRecordError as error:
            raise damaged_line(path, place, str(error)) from error
    return tuple(found)
