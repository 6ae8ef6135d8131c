"""A sweep: one recipe, trained with several values of its keys and several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from acu_core.errors import Action, Remedy, UserError
from acu_core.reproduce.plan import PlannedRun, RunState, check_same_data, read_state, run_path
from acu_core.reproduce.series import Series, place_key
from acu_core.reproduce.sweep_settings import SweepRequest, sweep_settings
from acu_core.train.events import Events, NoEvents


@dataclass(frozen=True)
class Sweep:
    """The runs in the order of the values, how far they are, and the signal that stopped the work, if one did."""

    runs: tuple[PlannedRun, ...]
    states: Mapping[Path, RunState]
    problems: Mapping[Path, str]
    stopped_by: str | None

    @property
    def done(self) -> int:
        """How many runs are finished."""
        return sum(self.states[run.path].done for run in self.runs)


def sweep(request: SweepRequest, *, events: Events | None = None) -> Sweep:
    """Trains what the sweep still needs. A run that fails is a problem, and the others go on.

    On SIGINT, SIGTERM and SIGHUP the run that is being trained is saved. Raises UserError, and changes nothing, for
    a request or data that cannot be used, and where the directory holds runs of other settings.
    """
    series = Series(request, lambda: look(request), lambda _: None, events or NoEvents())
    stopped_by = series.train()
    return Sweep(tuple(series.runs), series.states, series.problems, stopped_by)


def look(request: SweepRequest) -> tuple[list[PlannedRun], dict[Path, RunState]]:
    """The runs and how far they are. Raises UserError where one of them cannot be, or was trained differently."""
    runs = plan_sweep(request)
    states = {run.path: read_state(run) for run in runs}
    for key in {place_key(run.recipe) for run in runs}:
        check_same_data({run.path: states[run.path] for run in runs if place_key(run.recipe) == key})
    complete = all(state.done for state in states.values())
    if not complete and request.data is not None and not request.download and not request.data.exists():
        raise UserError(f"there is no data set at {request.data}", Remedy(Action.DOWNLOAD, request.recipe))
    return runs, states


def plan_sweep(request: SweepRequest) -> list[PlannedRun]:
    """The runs in the order in which they are trained: all settings with seed 0, then all with seed 1.

    So a comparison has every setting as early as it can. Raises UserError for a setting that no recipe can have.
    """
    settings = sweep_settings(request)
    return [
        PlannedRun(
            row,
            recipe.changed(seed=seed),
            seed,
            run_path(request.directory, row.recipe, seed),
            may_be_scaled=False,
        )
        for seed in range(request.seeds)
        for row, recipe in settings
    ]
