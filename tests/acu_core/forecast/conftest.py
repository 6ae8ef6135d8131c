from __future__ import annotations

import pytest

from acu_core.forecast import plan
from acu_core.forecast.measuring_process import Answer, Task, answer_to


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Tasks are done here, which is quicker."""
    tasks: list[Task] = []

    def measure(task: Task) -> list[Answer]:
        tasks.append(task)
        return [answer_to(task)]

    monkeypatch.setattr(plan, "measure_in_processes", measure)
    return tasks
