"""Whether a run is begun or gone on with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acu_core.errors import Action, Remedy, UserError
from acu_core.experiments.frozen_twin import train
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.standing import Standing, run_standing

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(), path)
    return path


def test_absent_begun_finished(tmp_path: Path, tiny: Tiny, finished: Path) -> None:
    assert run_standing(tiny(), tmp_path / "nothing") is Standing.ABSENT
    (tmp_path / "empty").mkdir()
    assert run_standing(tiny(), tmp_path / "empty") is Standing.ABSENT
    RunDirectory.create(tmp_path / "made", recipe_toml(tiny()), {})
    assert run_standing(tiny(), tmp_path / "made") is Standing.BEGUN
    assert run_standing(tiny(), finished) is Standing.FINISHED


def test_a_run_that_is_trained_but_not_evaluated_is_not_finished(tmp_path: Path, tiny: Tiny, finished: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", recipe_toml(tiny()), {})
    lines = (finished / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    run.metrics.write_bytes(b"".join(lines[:-1]))
    assert run_standing(tiny(), run.path) is Standing.BEGUN
    run.metrics.write_bytes(b"".join(lines))
    assert run_standing(tiny(), run.path) is Standing.FINISHED


def test_words_and_places_may_differ(tiny: Tiny, finished: Path) -> None:
    elsewhere = tiny("machine.device=auto", "data.path=/elsewhere", "description=Other words.")
    assert run_standing(elsewhere, finished) is Standing.FINISHED


def test_another_recipe_is_refused_by_its_differences(tiny: Tiny, finished: Path) -> None:
    with pytest.raises(UserError, match=r"seed is 0 there, not 3; .*learning_rate is 0\.1 there, not 0\.2") as raised:
        run_standing(tiny("seed=3", "optimizer.learning_rate=0.2", "schedule.iterations=40"), finished)
    assert raised.value.remedies == (Remedy(Action.CHOOSE_OUT, str(finished)),)


def test_a_longer_recipe_is_another_one_and_what_extends_a_run_is_said(tiny: Tiny, finished: Path) -> None:
    for iterations in (11, 40):
        with pytest.raises(UserError, match=rf"schedule\.iterations is 12 there, not {iterations}") as raised:
            run_standing(tiny(f"schedule.iterations={iterations}"), finished)
        assert raised.value.remedies[0] == Remedy(Action.EXTEND, str(finished))


def test_what_else_may_change_of_a_run_is_not_said_to_make_it_longer(tiny: Tiny, finished: Path) -> None:
    with pytest.raises(UserError, match=r"schedule\.checkpoint_every is \d+ there, not 7") as raised:
        run_standing(tiny("schedule.checkpoint_every=7"), finished)
    assert raised.value.remedies[0] == Remedy(Action.CHANGE, str(finished))
    with pytest.raises(UserError, match="mirror is false there, not true") as raised:
        run_standing(tiny("data.mirror=true"), finished)
    assert [remedy.action for remedy in raised.value.remedies] == [Action.CHOOSE_OUT]


def test_it_is_asked_without_pytorch() -> None:
    code = "import sys, acu_core.train.standing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
