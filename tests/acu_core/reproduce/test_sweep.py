"""Sweeps of the planted recipe, trained end to end in seconds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acu_core.errors import UserError
from acu_core.recipe.recipe_file import load_recipe
from acu_core.reproduce import order, series
from acu_core.reproduce.sweep import look, sweep
from acu_core.reproduce.sweep_settings import Axis, SweepRequest
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.events import NoEvents

TINY = (
    "machine.threads=1",
    "machine.device=cpu",
    "data.batch_size=16",
    "data.options={train_count=200, test_count=50}",
    "schedule.iterations=12",
    "schedule.warm_up=3",
    "schedule.divisions=[]",
    "schedule.evaluate_every=4",
    "schedule.checkpoint_every=5",
)
RATES = Axis.of("optimizer.learning_rate=0.1,0.05")


def tiny(out: Path, *axes: Axis, seeds: int = 2, overrides: tuple[str, ...] = TINY) -> SweepRequest:
    return SweepRequest("planted", axes or (RATES,), overrides, seeds=seeds, out=out)


def hashes(path: Path) -> dict[str, str]:
    files = [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "planted"
    found = sweep(tiny(out))
    assert (found.done, found.stopped_by, found.problems) == (4, None, {})
    return out


def test_every_setting_and_seed_is_a_run(finished: Path) -> None:
    runs = sorted(path.name for path in finished.iterdir() if path.is_dir())
    assert runs == sorted(f"planted-learning_rate-{rate}-seed{seed}" for rate in ("0.1", "0.05") for seed in (0, 1))
    for name in runs:
        recipe = load_recipe(str(finished / name / "recipe.toml"))
        assert (recipe.name, recipe.compare_frozen, recipe.schedule.iterations) == ("planted", False, 12)
        assert name == f"planted-learning_rate-{recipe.optimizer.learning_rate}-seed{recipe.seed}"
    # Made-up data are made from the seed, so each seed has its own.
    data = {name: RunDirectory.open(finished / name).environment["data"]["fingerprint"]["data"] for name in runs}
    assert data[runs[0]] == data[runs[2]]
    assert data[runs[0]] != data[runs[1]]


def test_what_is_done_is_never_repeated_and_seeds_are_added(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(finished)
    with monkeypatch.context() as patch:
        for module, name in ((order, "train"), (order, "resume"), (series, "new_workplace")):
            patch.setattr(module, name, lambda *a, name=name, **k: pytest.fail(f"{name} was called"))
        assert sweep(tiny(finished)).done == 4
        assert sweep(tiny(finished, Axis.of("optimizer.learning_rate=0.10"), seeds=1)).done == 1
    assert hashes(finished) == before


def test_killed_and_continued(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import time\nfrom pathlib import Path\n"
        "from acu_core.reproduce.sweep import sweep\nfrom acu_core.reproduce.sweep_settings import Axis, SweepRequest\n"
        "from acu_core.train import run_training\nfrom acu_core.train.events import NoEvents\n"
        "run_training.BLOCK = 2\n"
        "class Slow(NoEvents):\n"
        "    def advance(self, done, stage, loss, accuracy):\n"
        "        if stage.startswith('2 of 4') and done > 18: time.sleep(600)\n"
        f"sweep(SweepRequest('planted', (Axis.of({RATES.key!r} + '=0.1,0.05'),), {TINY!r}, seeds=2, "
        f"out=Path({str(out)!r})), events=Slow())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        second = out / "planted-learning_rate-0.05-seed0"
        deadline = time.monotonic() + 300
        while not (second / "checkpoints" / "00000005.pt").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(UserError, match="another process"):
            sweep(tiny(out))
    finally:
        process.kill()
        process.wait()
    stages: list[str] = []

    class Watching(NoEvents):
        def advance(self, done: int, stage: str, loss: float | None, accuracy: float | None) -> None:
            stages.append(stage)

    assert sweep(tiny(out), events=Watching()).done == 4
    assert stages[0].startswith("1 of 3: optimizer.learning_rate=0.05, seed 0"), "the finished run is not begun again"
    for path in finished.iterdir():
        if path.is_dir():
            for name in ("metrics.jsonl", "positions.bin"):
                assert (path / name).read_bytes() == (out / path.name / name).read_bytes(), path.name


def test_other_settings_are_never_mixed(finished: Path) -> None:
    longer = tuple("schedule.iterations=13" if "iterations" in text else text for text in TINY)
    with pytest.raises(UserError, match="was trained with other settings") as raised:
        look(tiny(finished, overrides=longer))
    # A sweep has no scale that could be the reason.
    assert [remedy.action.name for remedy in raised.value.remedies] == ["CHOOSE_OUT"]


def test_a_setting_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(NoEvents):
        def warn(self, text: str, *remedies: Any) -> None:
            said.append(text)

    # The second is far beyond what float32 holds.
    found = sweep(tiny(tmp_path, Axis.of("optimizer.learning_rate=0.1,1e25,0.05"), seeds=1), events=Listening())
    assert [found.states[run.path].done for run in found.runs] == [True, False, True]
    assert list(found.problems) == [found.runs[1].path]
    assert any("failed, going on with the others" in text for text in said)


def test_data_are_loaded_once_for_settings_that_share_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    new_workplace = series.new_workplace

    def counting(recipe: Any, **options: Any) -> Any:
        loaded.append(recipe.seed)
        return new_workplace(recipe, **options)

    monkeypatch.setattr(series, "new_workplace", counting)
    assert sweep(tiny(tmp_path, RATES, Axis.of("data.evaluation_batch_size=25,50"))).done == 8
    assert loaded == [0, 1]


def test_missing_data_leaves_nothing_behind(tmp_path: Path) -> None:
    request = SweepRequest("cifar10-plain-acu", (RATES,), data=tmp_path / "none.npz", out=tmp_path / "out")
    with pytest.raises(UserError, match="there is no data set at"):
        sweep(request)
    assert not (tmp_path / "out").exists()


def test_every_data_set_is_looked_for_before_anything_is_trained(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = {f"{part}_images": generator.integers(0, 256, (20, 32, 32, 3), np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "there.npz", **images, train_labels=np.arange(20) % 10, test_labels=np.arange(20) % 10)
    paths = Axis.of(f"data.path={tmp_path / 'there.npz'},{tmp_path / 'none.npz'}")
    with pytest.raises(UserError, match=r"none\.npz"):
        sweep(SweepRequest("cifar10-plain-acu", (paths,), ("machine.device=cpu",), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
