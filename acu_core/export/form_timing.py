"""How long the forms of a layer take, and whole networks: run in turns, in the format that is to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from acu_core.bench.timing import Timing, alternate

SURROUNDINGS = "surroundings"
"""The name of what layers are run in, alone: what it takes is no layer's."""
ROUNDS = (7, 51)
"""The fewest and the most."""
SECONDS = 1.5
"""For the contestants of one comparison, where the fewest rounds do not take longer."""


def time_runs(runs: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
    """Times `runs` in turns, in random order: for a while, each at least `ROUNDS[0]` times."""
    # The first run of each prepares what later ones use, the second says how long a round takes.
    for run in runs.values():
        run()
    round_seconds = sum(timing.median for timing in alternate(runs, rounds=2, warm_up=0).values())
    rounds = min(max(int(SECONDS / max(round_seconds, 1e-6)), ROUNDS[0]), ROUNDS[1])
    return alternate(runs, rounds=rounds, warm_up=1)
