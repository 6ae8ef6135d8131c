"""How many CPU threads each run of a series is trained with, where its recipe leaves that open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from acu_core.reproduce.plan import PlannedRun, RunState
from acu_core.train.events import Events


def threads_of_each(runs: Sequence[PlannedRun], states: Mapping[Path, RunState], jobs: int, events: Events) -> int:
    """The number that the series has been begun with; for its first runs, a job's equal share of this machine's.

    The number of threads decides the bits of a run. So it is settled once for all runs of a series and recorded with
    each, and another number of jobs later changes nothing: `events` are warned where more threads are asked for than
    the machine has.
    """
    available = torch.get_num_threads()
    share = max(1, available // jobs)
    new = [run for run in runs if not states[run.path].exists and not run.recipe.machine.threads]
    recorded = {
        (states[run.path].environment or {}).get("threads")
        for run in runs
        if states[run.path].exists and not run.recipe.machine.threads
    }
    if len(recorded) != 1:
        return share
    (threads,) = recorded
    if not isinstance(threads, int) or threads < 1:
        return share
    at_once = min(jobs, len(new))
    if at_once > 1 and at_once * threads > available:
        events.warn(
            f"each run is trained with {threads} threads, as those that are there: {at_once} at once ask for "
            f"{at_once * threads} threads where there are {available}, which takes longer than fewer at once"
        )
    return threads
