"""Tables trained end to end on made-up images in CIFAR-10's layout."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_data import make_places365

from acu_core.errors import Action, Remedy, UserError
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.reproduce import order, plan, scaling, series
from acu_core.reproduce.reproduction import Request, look, reproduce
from acu_core.runs.json_lines import read_log
from acu_core.runs.snapshot_file import SnapshotFile
from acu_core.train.events import NoEvents

SCALE = 1e-9
SEVEN = [
    "cifar10-plain-base",
    "cifar10-plain-base-d2",
    "cifar10-plain-acu-round",
    "cifar10-plain-acu-c23",
    "cifar10-plain-acu",
    "cifar10-plain-base-f5",
    "cifar10-plain-acu-f5",
]


class Watching(NoEvents):
    """Acts when the training of a row goes on."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self.act = act
        self.warnings: list[str] = []

    def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
        self.act(stage)

    def warn(self, text: str, *remedies: Remedy) -> None:
        self.warnings.append(text)


def hashes(path: Path) -> dict[str, str]:
    files = [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def table_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text())
    return values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_cifar10: Path) -> Path:
    """The ablation with two seeds, trained without interruption."""
    out = tmp_path_factory.mktemp("reproductions") / "ablation"
    assert reproduce(Request("ablation", 2, SCALE, tiny_cifar10, out, "cpu", made_by="hand")).stopped_by is None
    return out


def errors_of(run: Path) -> float:
    """The last evaluation in per cent, read off the log by hand."""
    last = [line for line in read_log(run / "metrics.jsonl") if "test_errors" in line][-1]
    assert last["iteration"] == 20
    return 100 * float(last["test_errors"]) / 40


def test_every_row_and_seed_is_a_run(finished: Path) -> None:
    runs = sorted(path.name for path in finished.iterdir() if path.is_dir())
    assert runs == sorted(f"{recipe}-seed{seed}" for recipe in SEVEN for seed in (0, 1))
    for name in runs:
        recipe = load_recipe(str(finished / name / "recipe.toml"))
        assert f"{recipe.name}-seed{recipe.seed}" == name
        assert recipe.schedule.iterations == 20


def test_the_files_hold_what_the_runs_found(finished: Path) -> None:
    values = table_json(finished / "ablation.json")
    page = (finished / "ablation.md").read_text()
    assert (values["runs_planned"], values["runs_finished"], values["finished"]) == (14, 14, True)
    assert [row["recipe"] for row in values["rows"]] == SEVEN
    means = {}
    for row in values["rows"]:
        first, second = (errors_of(finished / f"{row['recipe']}-seed{seed}") for seed in (0, 1))
        means[row["recipe"]] = (first + second) / 2
        assert row["n"] == 2
        assert row["mean"] == pytest.approx(means[row["recipe"]])
        assert row["spread"] == pytest.approx(abs(first - second) / 2**0.5)
        improvement = means["cifar10-plain-base"] - means[row["recipe"]]
        if row["recipe"] == "cifar10-plain-base":
            assert row["improvement"] is None
        else:
            assert row["improvement"] == pytest.approx(improvement)
            words = [f"{row['mean']:.2f}", f"{row['spread']:.2f}", "2"]
            words += [f"{row['paper']['improvement']:+.2f}", f"{improvement:+.2f}"]
            assert " | ".join(words) + " |" in page
        assert [run["seed"] for run in row["runs"]] == [0, 1]
        assert all((finished / run["run"]).is_dir() for run in row["runs"])
    assert len(set(means.values())) > 1, "otherwise nothing was compared"
    assert "Unfinished" not in page
    assert "A trial" in page
    (conditions,) = values["conditions"]
    assert conditions["versions"]["torch"] in page
    assert conditions["device"] == "cpu"
    assert len(conditions["runs"]) == 14
    assert "Made by `hand`." in page
    assert values["made_by"] == "hand"


def test_acu_round_starts_from_the_acu_run_of_its_seed(finished: Path) -> None:
    for seed in (0, 1):
        parent, child = (finished / f"cifar10-plain-acu{kind}-seed{seed}" for kind in ("", "-round"))
        recipe = load_recipe(str(child / "recipe.toml"))
        assert recipe.parent is not None
        assert (recipe.parent.run, recipe.parent.iteration) == (str(parent), 20)
        learned, rounded = (SnapshotFile(path / "positions.bin") for path in (parent, child))
        for layer in learned.layers:
            last = np.asarray(learned.positions(layer.name))[-1]
            assert (np.asarray(rounded.positions(layer.name)) == np.round(last)).all()
            assert np.array_equal(np.asarray(rounded.iterations), np.arange(21))


def test_what_is_done_is_never_repeated(finished: Path, tiny_cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [(order, "train"), (order, "resume"), (order, "round_and_finetune"), (series, "new_workplace")]
    for module, name in calls:
        monkeypatch.setattr(module, name, lambda *a, name=name, **k: pytest.fail(f"{name} was called"))
    before = hashes(finished)
    again = reproduce(Request("ablation", 2, SCALE, tiny_cifar10, finished, "cpu", made_by="hand"))
    assert again.result.done == 14
    assert hashes(finished) == before
    # Fewer seeds are a table of the same runs, with one value and so without a spread.
    one = reproduce(Request("ablation", 1, SCALE, tiny_cifar10, finished, "cpu", made_by="hand"))
    assert [row.n for row in one.result.rows] == [1] * 7
    assert {row.spread for row in one.result.rows} == {None}
    reproduce(Request("ablation", 2, SCALE, tiny_cifar10, finished, "cpu", made_by="hand"))
    assert hashes(finished) == before


def test_tables_share_their_runs_in_one_directory(finished: Path) -> None:
    _, runs, states = look(Request("cifar10", 2, SCALE, None, finished, "cpu"))
    done = {run.row.recipe for run in runs if states[run.path].done}
    assert done == {"cifar10-plain-base", "cifar10-plain-acu"}
    assert {run.path.parent for run in runs} == {finished}


def test_settings_are_never_mixed(finished: Path, tiny_cifar10: Path, other_cifar10: Path) -> None:
    before = hashes(finished)
    with pytest.raises(UserError, match=r"schedule\.iterations is 20 there, not 640") as raised:
        reproduce(Request("ablation", 2, 0.01, tiny_cifar10, finished, "cpu"))
    assert [remedy.action for remedy in raised.value.remedies] == [Action.SAME_SCALE, Action.CHOOSE_OUT]
    # What a scale never changes is not blamed on it.
    text = (finished / "cifar10-plain-base-seed0" / "recipe.toml").read_text()
    changed = text.replace("momentum = 0.9", "momentum = 0.8")
    assert changed != text
    (finished / "cifar10-plain-base-seed0" / "recipe.toml").write_text(changed)
    with pytest.raises(UserError, match=r"momentum is 0\.8 there, not 0\.9") as raised:
        reproduce(Request("ablation", 2, SCALE, tiny_cifar10, finished, "cpu"))
    assert [remedy.action for remedy in raised.value.remedies] == [Action.CHOOSE_OUT]
    (finished / "cifar10-plain-base-seed0" / "recipe.toml").write_text(text)
    # Another seed makes the runs to come new ones.
    with pytest.raises(UserError, match="was trained on other data") as raised:
        reproduce(Request("ablation", 3, SCALE, other_cifar10, finished, "cpu"))
    assert [remedy.action for remedy in raised.value.remedies] == [Action.SAME_DATA, Action.CHOOSE_OUT]
    assert hashes(finished) == before


def test_stopped_and_continued(finished: Path, tiny_cifar10: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = Request("ablation", 1, SCALE, tiny_cifar10, out, "cpu")

    def stop(stage: str) -> None:
        if stage.startswith("2 of 7"):
            os.kill(os.getpid(), signal.SIGINT)

    stopped = reproduce(request, events=Watching(stop))
    assert stopped.stopped_by == "SIGINT"
    assert stopped.result.done == 1
    second = table_json(out / "ablation.json")["rows"][1]["runs"][0]
    assert second["state"] == "begun"
    assert 0 < second["iteration"] < 20
    assert "**Unfinished: 1 of 7 runs are done.**" in (out / "ablation.md").read_text()
    stages: list[str] = []
    assert reproduce(request, events=Watching(stages.append)).result.done == 7
    assert stages[0].startswith("1 of 6: Base-D2, seed 0"), "the finished run is not begun again"
    for recipe in SEVEN:
        logs = [path / f"{recipe}-seed0" / "metrics.jsonl" for path in (out, finished)]
        assert logs[0].read_bytes() == logs[1].read_bytes(), recipe


def test_killed_and_continued(finished: Path, tiny_cifar10: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nimport conftest\nfrom acu_core.reproduce import plan\n"
        "from acu_core.train import run_training\n"
        "from acu_core.reproduce.reproduction import Request, reproduce\n"
        "plan.load_recipe = conftest._small\nrun_training.BLOCK = 2\n"
        "class Slow:\n"
        "    def begin(self, total, done): pass\n"
        "    def advance(self, done, stage, loss, accuracy):\n"
        "        if stage.startswith('2 of 7') and done > 26: time.sleep(600)\n"
        "    def note(self, text): pass\n"
        "    def warn(self, text, *remedies): pass\n"
        f"reproduce(Request('ablation', 1, {SCALE}, Path({str(tiny_cifar10)!r}), Path({str(out)!r}), 'cpu'), "
        "events=Slow())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        second = out / "cifar10-plain-base-d2-seed0"
        deadline = time.monotonic() + 300
        while not (second / "checkpoints" / "00000005.pt").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # Held by the process that trains.
        with pytest.raises(UserError, match="another process"):
            reproduce(Request("ablation", 1, SCALE, tiny_cifar10, out, "cpu"))
    finally:
        process.kill()
        process.wait()
    assert not (out / "cifar10-plain-acu-seed0").exists()
    assert reproduce(Request("ablation", 1, SCALE, tiny_cifar10, out, "cpu")).result.done == 7
    for recipe in SEVEN:
        logs = [path / f"{recipe}-seed0" / "metrics.jsonl" for path in (out, finished)]
        assert logs[0].read_bytes() == logs[1].read_bytes(), recipe


def test_a_broken_row_does_not_lose_the_others(
    tiny_cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    request = Request("ablation", 1, SCALE, tiny_cifar10, out, "cpu")
    train = order.train

    def breaking(recipe: Any, *arguments: Any, **options: Any) -> Any:
        if recipe.name == "cifar10-plain-base":
            return train(recipe, *arguments, **options)
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(order, "train", breaking)
    events = Watching(lambda stage: None)
    result = reproduce(request, events=events).result
    assert result.done == 1
    runs = {row["row"]: row["runs"][0] for row in table_json(out / "ablation.json")["rows"]}
    assert runs["Base"]["state"] == "done"
    assert (runs["ACU-F5"]["state"], runs["ACU-F5"]["problem"]) == ("failed", "out of memory")
    assert "cifar10-plain-acu-seed0, which is not finished" in runs["ACU-Round"]["problem"]
    assert len(events.warnings) == 6
    assert "Base-D2, seed 0, failed: out of memory" in (out / "ablation.md").read_text()


def test_places365_with_few_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(name: str, overrides: Iterable[str] = ()) -> Recipe:
        options = ["data.batch_size=2", "data.options.crop=63", "data.options.resize=63"]
        options += ["network.options.hidden=16"] if "alexnet" in name else []
        return load_recipe(name, [*overrides, *options, "machine.threads=1", "machine.workers=1"])

    monkeypatch.setattr(plan, "load_recipe", small)
    monkeypatch.setattr(scaling, "LEAST_ITERATIONS", 1)
    data, out = make_places365(tmp_path / "places"), tmp_path / "out"
    result = reproduce(Request("places365", 1, SCALE, data, out, "cpu")).result
    assert (result.done, result.runs) == (4, 4)
    for row in result.rows:
        last = read_log(row.runs[0].path / "metrics.jsonl")[-1]
        assert last["test_top5_errors"] <= last["test_errors"]
        assert row.mean == pytest.approx(100 * (12 - last["test_top5_errors"]) / 12)


def test_missing_data_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no data set at"):
        reproduce(Request("cifar10", 1, SCALE, tmp_path / "none.npz", tmp_path / "out", "cpu"))
    assert not (tmp_path / "out").exists()


def test_where_a_table_lies_by_default() -> None:
    assert Request("ablation").directory == Path("reproductions/ablation")


def test_what_is_no_run_is_named_and_an_empty_directory_is_used(tmp_path: Path, tiny_cifar10: Path) -> None:
    request = Request("ablation", 1, SCALE, tiny_cifar10, tmp_path, "cpu")
    place = tmp_path / f"{SEVEN[0]}-seed0"
    place.write_text("notes")
    with pytest.raises(UserError, match="seed0 is no run, but a run of this table belongs there: move it away"):
        look(request)
    assert place.read_text() == "notes"
    place.unlink()
    place.mkdir()
    assert not look(request)[2][place].exists


def test_data_that_does_not_exist_is_said_before_anything_else(tmp_path: Path, finished: Path) -> None:
    missing = tmp_path / "missing.npz"
    with pytest.raises(UserError, match=r"there is no data set at .*missing\.npz") as raised:
        look(Request("ablation", 1, SCALE, missing, tmp_path / "out", "cpu"))
    assert [remedy.action for remedy in raised.value.remedies] == [Action.DOWNLOAD]
    assert list(tmp_path.iterdir()) == []
    # A table that is complete needs none.
    look(Request("ablation", 2, SCALE, missing, finished, "cpu"))
