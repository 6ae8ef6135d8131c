from __future__ import annotations

from pathlib import Path

from acu_core.train.events import NoEvents, tell_run


class Listening(NoEvents):
    def __init__(self) -> None:
        self.runs: list[Path] = []

    def begin_run(self, run: Path) -> None:
        self.runs.append(run)


def test_only_those_that_listen_are_told_the_run(tmp_path: Path) -> None:
    listening = Listening()
    tell_run(listening, tmp_path)
    assert listening.runs == [tmp_path]
    tell_run(NoEvents(), tmp_path)
