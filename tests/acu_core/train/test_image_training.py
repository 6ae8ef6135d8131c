"""Training on image files, which processes decode: killed, interrupted, resumed, and with a broken image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from image_data import make_image_folder

from acu_core.data.randomness import network_seed
from acu_core.errors import UserError
from acu_core.experiments.frozen_twin import resume, train
from acu_core.experiments.stored_evaluation import evaluate_run
from acu_core.learn import network
from acu_core.recipe.network_table import NetworkTable
from acu_core.recipe.recipe_file import parse_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.json_lines import read_log
from acu_core.runs.run_directory import RunDirectory

Content = Callable[[Path], dict[str, object]]

RECIPE = """
name = "pictures"
machine = { device = "cpu", threads = 1, workers = 2 }
network = { name = "planted", unit = "acu", options = { width = 4 } }
optimizer = { learning_rate = 0.05, position_learning_rate_factor = 0.05 }
schedule = { iterations = 12, warm_up = 2, evaluate_every = 5, checkpoint_every = 4 }

[data]
name = "imagefolder"
batch_size = 6
evaluation_batch_size = 10
mirror = true
options = { crop = 17, resize = 20 }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("images"), each=3)


@pytest.fixture(scope="module")
def recipe(root: Path) -> Recipe:
    return parse_recipe(RECIPE, "the test").changed(data={"path": str(root)})


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(recipe, run).finished
    return run


class Command:
    """`acu train` as a process of its own, in a session of its own, as a terminal starts it."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "acu_cli", "train", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, run: Path, iteration: int) -> None:
        while self.process.poll() is None:
            checkpoint = load_latest_checkpoint(RunDirectory.open(run)) if (run / "checkpoints").exists() else None
            if checkpoint is not None and checkpoint.iteration >= iteration:
                return
            time.sleep(0.02)
        raise AssertionError(self.process.communicate())

    def decoders(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in listed if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors


@pytest.fixture
def endless(recipe: Recipe, tmp_path: Path) -> Iterator[tuple[Command, Path]]:
    (tmp_path / "recipe.toml").write_text(recipe_toml(recipe.changed(schedule={"iterations": 1_000_000})))
    run = tmp_path / "run"
    command = Command(tmp_path / "recipe.toml", "--out", run)
    try:
        command.wait_for(run, 4)
        yield command, run
    finally:
        if command.process.poll() is None:
            command.process.kill()
            command.process.communicate()


def _gone(pids: list[int]) -> bool:
    for _ in range(500):
        if not any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _continued(run: Path, iterations: int) -> None:
    assert resume(run, [f"schedule.iterations={iterations}"]).finished


def test_what_is_recorded(whole: Path) -> None:
    environment = RunDirectory.open(whole).environment
    assert environment["workers"] == 2
    assert set(environment["data"]["fingerprint"]) == {"names_and_sizes"}
    evaluations = [record for record in read_log(whole / "metrics.jsonl") if "test_errors" in record]
    assert [record["iteration"] for record in evaluations] == [5, 10, 12]
    assert evaluate_run(whole).evaluation.errors == evaluations[-1]["test_errors"]


def test_the_number_of_workers_changes_no_bit(whole: Path, recipe: Recipe, tmp_path: Path, content: Content) -> None:
    train(recipe.changed(machine={"workers": 1}), tmp_path / "run")
    first, second = content(whole), content(tmp_path / "run")
    assert {**first, "recipe": None} == {**second, "recipe": None}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the decoding processes are found through /proc")
def test_killed_and_resumed_it_has_the_same_bits(
    endless: tuple[Command, Path], recipe: Recipe, tmp_path: Path, content: Content
) -> None:
    command, run = endless
    decoders = command.decoders()
    assert len(decoders) == 2
    command.process.kill()
    assert command.end()[0] == -signal.SIGKILL
    assert _gone(decoders), "they end with the process that they served"
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    iterations = checkpoint.iteration + 3
    _continued(run, iterations)
    train(recipe.changed(schedule={"iterations": iterations}), tmp_path / "again")
    assert content(run) == content(tmp_path / "again")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the decoding processes are found through /proc")
def test_ctrl_c_saves_and_leaves_neither_tracebacks_nor_processes(
    endless: tuple[Command, Path], recipe: Recipe, tmp_path: Path, content: Content
) -> None:
    command, run = endless
    decoders = command.decoders()
    # As a terminal does it: to the whole group.
    os.killpg(command.process.pid, signal.SIGINT)
    code, errors = command.end()
    assert code == 128 + signal.SIGINT, errors
    assert "Traceback" not in errors
    assert _gone(decoders)
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    iterations = checkpoint.iteration + 2
    _continued(run, iterations)
    train(recipe.changed(schedule={"iterations": iterations}), tmp_path / "again")
    assert content(run) == content(tmp_path / "again")


def test_a_broken_image_ends_the_training_with_all_saved(recipe: Recipe, tmp_path: Path, content: Content) -> None:
    root = make_image_folder(tmp_path / "images", each=3)
    other = recipe.changed(data={"path": str(root)})
    train(other, tmp_path / "whole")
    # The batches before it are read at their first epoch; only what comes later meets the damage.
    assert train(other.changed(schedule={"iterations": 3}), tmp_path / "run").finished
    good = {path: path.read_bytes() for path in (root / "train").rglob("*.jpg")}
    for path, data in good.items():
        path.write_bytes(b"x" * len(data))
    with pytest.raises(UserError, match=r"\.jpg cannot be read as an image .* \(iteration 3 is saved\)"):
        resume(tmp_path / "run", ["schedule.iterations=12"])
    for path, data in good.items():
        path.write_bytes(data)
    resume(tmp_path / "run")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_crop_padding_is_refused_by_the_recipe(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="crop_padding: is not for imagefolder"):
        parse_recipe(recipe_toml(recipe), "the recipe", ["data.crop_padding=4"])


class Forgetful(torch.nn.Module):
    """A network with dropout, without anything else to draw."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(in_channels * 17 * 17, classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def test_dropout_is_drawn_from_seed_and_iteration(
    tmp_path: Path, tiny: Callable[..., Recipe], content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(table: NetworkTable, *, in_channels: int, classes: int, **options: Any) -> torch.nn.Module:
        return Forgetful(in_channels, classes)

    monkeypatch.setattr(network, "network_of", build)
    recipe = tiny("network.unit=convolution", "schedule.iterations=8")
    train(recipe, tmp_path / "whole")
    train(tiny("network.unit=convolution", "schedule.iterations=5"), tmp_path / "run")
    torch.rand(7)
    resume(tmp_path / "run", ["schedule.iterations=8"])
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_every_seed_and_iteration_drops_something_else() -> None:
    masks = set()
    for seed in (0, 1, 2**33):
        for iteration in (1, 2, 3):
            torch.manual_seed(network_seed(seed, iteration))
            masks.add(tuple(torch.rand(4).tolist()))
    assert len(masks) == 9
