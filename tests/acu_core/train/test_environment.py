"""Where a run is trained and evaluated: what is asked for now, beside what its environment records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from warned import Warned

from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.rounding import round_and_finetune
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.export.exported_run import export_run
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.train.environment import differences
from acu_core.train.stored_run import StoredRun

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny("schedule={iterations=1}"), path)
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(run: Path, **keys: object) -> None:
    path = run / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_a_path_for_data_that_are_made_is_refused(run: Path, tiny: Tiny) -> None:
    beside, data = run.parent, run.parent / "data.npz"
    data.write_bytes(b"")
    before = {path for path in beside.rglob("*") if path.name != ".lock"}
    for use in (
        lambda: train(tiny("schedule={iterations=1}"), beside / "new", data_path=data),
        lambda: resume(run, ["schedule.iterations=2"], data_path=data),
        lambda: evaluate_run(run, data_path=data),
        lambda: round_and_finetune(run, beside / "rounded", iterations=1, data_path=data),
        lambda: export_run(run, beside / "network.safetensors", data_path=data),
    ):
        with pytest.raises(UserError) as caught:
            use()
        assert str(caught.value) == (
            f"the data set planted is made, not read from files, so {data} cannot be used for it"
        )
    assert {path for path in beside.rglob("*") if path.name != ".lock"} == before


def test_a_path_that_an_earlier_recipe_names_for_them_is_no_error(tmp_path: Path, tiny: Tiny) -> None:
    train(tiny("schedule={iterations=1}", "data.path=/somewhere.npz"), tmp_path / "run")
    assert resume(tmp_path / "run", ["schedule.iterations=2"]).finished


def test_the_data_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    images = {f"{part}_images": draw.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(4, dtype=np.uint8) for part in ("train", "test")}
    np.savez("somewhere.npz", **images, **labels)  # type: ignore[arg-type]
    changes = ["network.name=residual", "network.options={blocks=1}", "data.batch_size=4", "schedule={iterations=1}"]
    recipe = load_recipe("cifar10-plain-base", [*changes, "machine.threads=1", "machine.device=cpu"])
    train(recipe, tmp_path / "run", data_path=Path("somewhere.npz"))
    assert StoredRun.open(tmp_path / "run").recipe.data.path == str(tmp_path / "somewhere.npz")


@pytest.mark.parametrize("source", ["x" * 3000, "generated?", "", "\0", "\ud800"])
def test_a_recorded_source_that_is_not_there_is_not_looked_into(run: Path, source: str) -> None:
    change(run, data={**json.loads((run / "environment.json").read_text())["data"], "source": source})
    assert evaluate_run(run).evaluation == evaluate_run(run, reference=True).evaluation


def test_other_conditions_are_warned_of_whatever_is_done(run: Path) -> None:
    change(run, processor="another")
    for use in (
        lambda events: evaluate_run(run, events=events),
        lambda events: export_run(run, run.parent / "network.safetensors", events=events),
        lambda events: resume(run, ["schedule.iterations=2"], events=events),
    ):
        events = Warned()
        use(events)
        warning, *others = events.warnings
        # Where the run goes on, it is told too that somebody has changed the file.
        assert all("environment.json was changed since the run was saved" in text for text in others)
        assert warning.startswith("these are other conditions than those the run was trained under, so bits will ")
        assert "processor was another, is " in warning
        assert "goes on" not in warning


@pytest.mark.parametrize(("recorded", "warned"), [({}, False), ({"revision": 1}, False), ({"revision": 2}, True)])
def test_kernels_whose_sums_have_another_order_are_other_conditions(recorded: dict[str, int], warned: bool) -> None:
    # Environments of old say nothing of it, and are of the first revision.
    before = {"operator": {"compiled": True, "instruction_set": "avx2", **recorded}}
    now = {"operator": {"compiled": True, "instruction_set": "avx2", "revision": 1}}
    found = differences(before, now)
    assert any("operator revision was 2, is 1" in text for text in found) == warned
    assert len(found) == int(warned)
