from __future__ import annotations

from pathlib import Path

import pytest
from written_run import WrittenRun

from acu_cli.run_standing import RunStanding
from acu_cli.watch.condition import Condition
from acu_cli.watch.followed_run import FollowedRun
from acu_cli.watch.run_plan import RunPlan


@pytest.mark.parametrize("end", [bytes(3 << 20), b"x" * (2 << 20) + b"\n"], ids=["torn", "a long line"])
def test_all_of_a_log_with_a_long_end_is_read(tmp_path: Path, end: bytes) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
    with written.run.metrics.open("ab") as file:
        file.write(end)
    run = FollowedRun(written.run.path)
    run.poll_all()
    assert run.iteration == 30
    assert len(run.problems) == end.endswith(b"\n")


@pytest.mark.parametrize(
    ("iteration", "is_locked", "evaluated", "twin_evaluated", "condition"),
    [
        (0, False, None, None, Condition.WAITING),
        (0, True, None, None, Condition.WAITING),
        (5, True, None, None, Condition.TRAINING),
        (5, False, None, None, Condition.STOPPED),
        (10, True, 10, 10, Condition.TRAINING),
        (10, False, 5, None, Condition.STOPPED),
        (10, False, 10, None, Condition.STOPPED),
        (10, False, 10, 5, Condition.STOPPED),
        (10, False, 10, 10, Condition.FINISHED),
    ],
)
def test_how_a_run_with_a_twin_is_doing(
    iteration: int, is_locked: bool, evaluated: int | None, twin_evaluated: int | None, condition: Condition
) -> None:
    plan = RunPlan("recipe", 10, 0, (), has_twin=True)
    found = plan.condition(iteration=iteration, is_locked=is_locked, evaluated=evaluated, twin_evaluated=twin_evaluated)
    assert found is condition


def test_the_list_and_the_view_agree(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        path = written.run.path
        for last, condition in ((None, "waiting"), (30, "training"), (100, "training")):
            if last is not None:
                written.go_on(last)
                written.evaluate(10)
            followed = FollowedRun(path)
            followed.poll_all()
            assert followed.condition.value == RunStanding.of(path).condition == condition
    followed.poll_all()
    assert followed.condition.value == RunStanding.of(path).condition == "finished"
