"""A run killed by kill -9 at any moment, and resumed, ends with the bits of a run that was never interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acu_core.experiments.frozen_twin import train
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe

DRIVER = Path(__file__).with_name("killed_training.py")


class Processes:
    """Real processes that train, one after the other."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, recipe: Path, run: Path, moment: str, one_call: bool = False) -> int:
        return self._ask(json.dumps([str(recipe), str(run), moment, one_call]))

    def wait(self) -> int:
        return self._ask("")

    def drive(self, recipe: Path, run: Path, moment: str, one_call: bool = False) -> None:
        self.start(recipe, run, moment, one_call)
        assert self.wait() == (0 if moment == "never" else -signal.SIGKILL)

    def close(self) -> None:
        self._server.communicate(timeout=60)

    def _ask(self, line: str) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(line + "\n")
        return int(self._server.stdout.readline())


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    server = Processes()
    yield server
    server.close()


@pytest.mark.parametrize(
    "moments",
    [
        # The first one leaves a run without any checkpoint; the others follow the run to its end.
        ("half-append:1", "before-replace:1", "half-checkpoint:1", "after-replace:2", "iteration:9"),
        ("half-append:2", "iteration:3", "half-append:7", "before-replace:3", "after-replace:1"),
    ],
    ids=["saves", "logs"],
)
def test_killed_and_resumed(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    content: Callable[[Path], dict[str, object]],
    processes: Processes,
    moments: tuple[str, ...],
) -> None:
    recipe = tiny()
    train(recipe, tmp_path / "whole")
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(recipe))
    run = tmp_path / "killed"
    for moment in moments:
        processes.drive(file, run, moment)
    processes.drive(file, run, "never")
    assert content(run) == content(tmp_path / "whole")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_killed_in_16_bits_and_resumed(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    content: Callable[[Path], dict[str, object]],
    processes: Processes,
    precision: str,
) -> None:
    recipe = tiny(f"machine.precision={precision}")
    train(recipe, tmp_path / "whole")
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(recipe))
    run = tmp_path / "killed"
    for moment in ("iteration:5", "half-checkpoint:2", "iteration:12", "never"):
        processes.drive(file, run, moment)
    assert content(run) == content(tmp_path / "whole")


def test_killed_from_outside_at_random_moments(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    content: Callable[[Path], dict[str, object]],
    processes: Processes,
) -> None:
    recipe = tiny("schedule.iterations=400", "schedule.checkpoint_every=7", "schedule.evaluate_every=31")
    train(recipe, tmp_path / "whole")
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(recipe))
    run = tmp_path / "killed"
    draw = random.Random(0)
    kills = 0
    positions = run / "positions.bin"
    for _ in range(4):
        number = processes.start(file, run, "never")
        before = positions.stat().st_size if positions.exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not positions.exists() or positions.stat().st_size == before):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        # Nothing happens to one that has ended.
        os.kill(number, signal.SIGKILL)
        kills += processes.wait() == -signal.SIGKILL
    assert kills, "the run was too short for the test to kill it"
    processes.drive(file, run, "never")
    assert content(run) == content(tmp_path / "whole")


def test_the_same_start_again_and_again_killed_at_named_moments(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    content: Callable[[Path], dict[str, object]],
    processes: Processes,
) -> None:
    recipe = tiny("compare_frozen=true")
    train(recipe, tmp_path / "whole")
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(recipe))
    run = tmp_path / "killed"
    # Before the first checkpoint, in the middle, between the last checkpoint and its evaluation, and in the twin: 12
    # iterations are evaluated after 4, 8 and 12.
    for moment in ("half-append:1", "before-replace:1", "iteration:3", "before-evaluation:3", "before-evaluation:2"):
        processes.drive(file, run, moment, one_call=True)
    processes.drive(file, run, "never", one_call=True)
    for part in (".", "frozen"):
        assert content(run / part) == content(tmp_path / "whole" / part)


def test_the_same_start_again_and_again_killed_at_random_moments(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    content: Callable[[Path], dict[str, object]],
    processes: Processes,
) -> None:
    recipe = tiny("compare_frozen=true", "schedule.iterations=60", "schedule.checkpoint_every=7")
    train(recipe, tmp_path / "whole")
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(recipe))
    run = tmp_path / "killed"
    draw = random.Random(1)
    status, kills = -signal.SIGKILL, 0
    # The time that a start is given grows: the first ones are killed before there is a run, the last one ends.
    for attempt in range(60):
        number = processes.start(file, run, "never", one_call=True)
        time.sleep(draw.uniform(0, 0.2 * 1.15**attempt))
        # Nothing happens to one that has ended.
        os.kill(number, signal.SIGKILL)
        status = processes.wait()
        kills += status == -signal.SIGKILL
        if status == 0:
            break
    assert status == 0
    assert kills > 1
    for part in (".", "frozen"):
        assert content(run / part) == content(tmp_path / "whole" / part)
