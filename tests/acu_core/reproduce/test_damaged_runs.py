"""A run of a table whose figures were damaged is named, instead of standing in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from acu_core.errors import UserError
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.reproduce.plan import PlannedRun, plan_runs, read_state
from acu_core.reproduce.tables import TABLES
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.metrics import EvaluationRecord, TrainingRecord
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.timings import TimingRecord


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRun:
    """A finished run of a table, without its network."""
    run = plan_runs(TABLES["cifar10"], seeds=1, scale=0.0001, out=tmp_path, device="cpu")[0]
    directory = RunDirectory.create(run.path, recipe_toml(run.recipe), {"device": "cpu"})
    with LogWriter(directory.metrics) as metrics, LogWriter(directory.timings) as timings:
        for iteration in range(1, run.iterations + 1):
            metrics.append(TrainingRecord(iteration, 2.0, 0.5, 0.1, 0.001).entry())
        metrics.append(EvaluationRecord(run.iterations, 1.5, 0.25, 30, 40).entry())
        timings.append(TimingRecord(run.iterations, 0, 3.0, 2.0, 0.5).entry())
    return run


def test_a_finished_run_is_read(planned: PlannedRun) -> None:
    state = read_state(planned)
    assert state.done
    assert state.evaluation is not None
    assert (state.iteration, state.evaluation.test_errors) == (planned.iterations, 30)
    assert [timing.seconds for timing in state.timings] == [3.0]


def test_a_changed_figure_is_named(planned: PlannedRun) -> None:
    for name, text, other in (
        ("metrics.jsonl", b'"test_errors": 30', b'"test_errors": 20'),
        ("metrics.jsonl", b'"test_loss": 1.5', b'"test_loss": 1.4'),
        ("timings.jsonl", b'"seconds": 3.0', b'"seconds": 2.0'),
    ):
        path = planned.path / name
        content = path.read_bytes()
        path.write_bytes(content.replace(text, other))
        assert path.read_bytes() != content
        with pytest.raises(UserError, match=f"of .*{name} is damaged"):
            read_state(planned)
        path.write_bytes(content)
    assert read_state(planned).done
