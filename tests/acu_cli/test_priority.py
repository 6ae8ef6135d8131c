from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from acu_cli.priority import give_way
{before}
give_way()
print(os.nice(0), os.sched_getscheduler(0))
"""


def after(before: str = "") -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)], capture_output=True, text=True, check=True, timeout=60
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has it")
def test_it_runs_when_nobody_else_wants_to() -> None:
    assert after() == [19, os.SCHED_IDLE]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has it")
def test_where_that_is_forbidden_it_is_nice() -> None:
    refuse = "def refuse(*_): raise PermissionError\nos.sched_setscheduler = refuse"
    assert after(refuse) == [19, os.SCHED_OTHER]
