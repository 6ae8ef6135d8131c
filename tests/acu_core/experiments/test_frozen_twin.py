from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from acu_core.errors import Action, Remedy, UserError
from acu_core.experiments.frozen_twin import frozen_recipe, resume, train
from acu_core.experiments.rounding import round_and_finetune
from acu_core.learn import network
from acu_core.learn.schedule import positions_never_move
from acu_core.nn.networks import network_of
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.train.events import NoEvents
from acu_core.train.stored_run import StoredRun

Tiny = Callable[..., Recipe]


class Warned(NoEvents):
    """Remembers warnings with their remedies."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, tuple[Remedy, ...]]] = []

    def warn(self, text: str, *remedies: Remedy) -> None:
        self.warnings.append((text, remedies))


def test_a_warm_up_that_never_ends_is_said(tiny: Tiny, tmp_path: Path) -> None:
    events = Warned()
    short = ("schedule.iterations=4", "schedule.divisions=[]")
    train(tiny(*short, "schedule.warm_up=4"), tmp_path / "run", events=events)
    ((text, remedies),) = events.warnings
    assert "positions never move: the warm-up (schedule.warm_up) lasts 4 iterations, and only 4 are trained" in text
    assert remedies == (Remedy(Action.SET_KEY, "schedule.warm_up"),)
    # Extended, they do.
    resume(tmp_path / "run", ["schedule.iterations=5"], events=events)
    assert len(events.warnings) == 1


@pytest.mark.parametrize(
    ("change", "never"),
    [
        ("schedule.warm_up=12", True),
        ("schedule.warm_up=11", False),
        ("network.unit=convolution", False),
        ("optimizer.freeze_positions=true", False),
    ],
)
def test_when_positions_never_move(tiny: Tiny, change: str, never: bool) -> None:
    assert positions_never_move(tiny("schedule.warm_up=12", change)) == never


def test_the_longest_name_has_a_twin_and_is_rounded(tiny: Tiny, tmp_path: Path, content: Any) -> None:
    name = "n" * 100
    recipe = tiny(f"name={name}", "compare_frozen=true")
    report = train(recipe, tmp_path / "run")
    assert report.frozen is not None
    assert StoredRun.open(tmp_path / "run" / "frozen").recipe == frozen_recipe(recipe)
    assert frozen_recipe(recipe).name == f"{'n' * 93}-frozen"
    round_and_finetune(tmp_path / "run", tmp_path / "child")
    assert StoredRun.open(tmp_path / "child").recipe.name == f"{'n' * 92}-rounded"


def test_the_largest_seed_trains_and_resumes(tiny: Tiny, tmp_path: Path, content: Any) -> None:
    largest = f"seed={2**63 - 1}"
    train(tiny(largest), tmp_path / "whole")
    train(tiny(largest, "schedule.iterations=6", "schedule.divisions=[]"), tmp_path / "run")
    resume(tmp_path / "run", ["schedule.iterations=12", "schedule.divisions=[6, 9]"])
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_built_in_recipes_move_their_positions() -> None:
    assert not positions_never_move(load_recipe("cifar10-plain-acu"))
    assert positions_never_move(load_recipe("cifar10-plain-acu", ["schedule.iterations=3000"]))


def test_a_twin_that_cannot_be_opened_is_not_held(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("compare_frozen=true", "schedule.iterations=4", "schedule.divisions=[]"), tmp_path / "run")
    for path in (tmp_path / "run" / "frozen" / "checkpoints").iterdir():
        path.write_bytes(b"x")
    caught = []
    for _ in range(2):
        with pytest.raises(UserError, match="none of the checkpoints") as raised:
            resume(tmp_path / "run")
        caught.append(raised)


def test_a_network_with_a_parameter_that_is_never_used_goes_on(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spare(table: object, **arguments: Any) -> nn.Module:
        model = network_of(table, **arguments)  # type: ignore[arg-type]
        model.spare = nn.Linear(3, 3)
        return model

    monkeypatch.setattr(network, "network_of", spare)
    train(tiny("schedule.iterations=5"), tmp_path / "run")
    assert resume(tmp_path / "run", ["schedule.iterations=7"]).finished
