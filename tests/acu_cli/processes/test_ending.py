"""However a training by several processes is ended: all end, one sentence says why, and it can be gone on with."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from image_data import CLASSES, make_image_folder
from launched_training import ACU, ENDING_SECONDS, HANGING_SECONDS, SMALL, Launched, is_there, settings

from acu_core.data.batches import batch_indices
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.metrics import read_metrics
from acu_core.runs.run_directory import RunDirectory

Content = Callable[[Path], dict[str, object]]
RESUME = [*ACU, "train", "--processes", "2", "--resume"]
TRAIN = [*ACU, "train", "planted", *SMALL, "--processes", "2"]


def stopped(number: signal.Signals) -> Callable[[Launched, int], None]:
    def check(launched: Launched, status: int) -> None:
        assert status == 128 + number
        assert launched.out.startswith(f"Stopped by {number.name} at iteration ")
        assert launched.out.splitlines()[1] == f"Go on with: acu train --resume {launched.run} --processes 2"
        assert not launched.sentences()

    return check


def failed(sentence: str, expected: int = 1) -> Callable[[Launched, int], None]:
    def check(launched: Launched, status: int) -> None:
        assert status == expected
        assert launched.out == ""
        (said,) = launched.sentences()
        assert sentence in said

    return check


def killed(rank: int) -> Callable[[Launched, int], None]:
    return failed(f"process {rank} of 2 was killed (SIGKILL")


def killed_launcher(launched: Launched, status: int) -> None:
    assert status == -signal.SIGKILL
    assert not launched.sentences()


def fill_disk(launched: Launched) -> None:
    resource.prlimit(launched.ranks()[0], resource.RLIMIT_FSIZE, (1, 1))


ENDINGS: dict[str, tuple[Callable[[Launched], None], Callable[[Launched, int], None]]] = {
    "Ctrl-C": (lambda launched: os.killpg(launched.process.pid, signal.SIGINT), stopped(signal.SIGINT)),
    "SIGTERM": (lambda launched: launched.process.terminate(), stopped(signal.SIGTERM)),
    "SIGTERM to one": (lambda launched: os.kill(launched.ranks()[1], signal.SIGTERM), stopped(signal.SIGTERM)),
    "kill -9 of the first": (lambda launched: os.kill(launched.ranks()[0], signal.SIGKILL), killed(0)),
    "kill -9 of another": (lambda launched: os.kill(launched.ranks()[1], signal.SIGKILL), killed(1)),
    "kill -9 of the launcher": (lambda launched: launched.process.kill(), killed_launcher),
    "a full disk": (fill_disk, failed("File too large: ")),
}


def test_ended_at_random_moments_in_every_way(tmp_path: Path, content: Content) -> None:
    seed = int(os.environ.get("ACU_TEST_SEED") or random.randrange(2**32))
    draw = random.Random(seed)
    run, whole = tmp_path / "ended", tmp_path / "whole"
    endless = settings(["schedule.iterations=1000000"])
    for name in draw.sample(list(ENDINGS), len(ENDINGS)):
        where = f"{name}, ACU_TEST_SEED={seed}"
        end, check = ENDINGS[name]
        begin = [*RESUME, run] if run.exists() else [*TRAIN, *endless, "--out", run]
        with Launched(*begin, directory=tmp_path, run=run) as launched:
            launched.wait_until_it_trains()
            time.sleep(draw.uniform(0, 0.2))
            ranks = launched.ranks()
            assert len(ranks) == 2, where
            end(launched)
            status = launched.end(ENDING_SECONDS)
            # Its own may have gone with it, but the others' parent is another one then.
            deadline = time.monotonic() + ENDING_SECONDS
            while any(map(is_there, ranks)):
                assert time.monotonic() < deadline, f"{where}: {ranks} are still there"
                time.sleep(0.05)
        assert "Traceback" not in launched.errors, f"{where}\n{launched.errors}"
        try:
            check(launched, status)
        except AssertionError as error:
            raise AssertionError(f"{where}: {status}\n{launched.out}\n{launched.errors}") from error
        checkpoint = load_latest_checkpoint(RunDirectory.open(run))
        assert checkpoint is not None, where
        assert not checkpoint.skipped, where
        assert not RunDirectory.open(run).is_locked, where
    length = settings([f"schedule.iterations={checkpoint.iteration + 20}"])
    for words in (["--resume", run, *length], ["planted", *SMALL, *length, "--out", whole]):
        with Launched(*ACU, "train", *words, "--processes", "2", directory=tmp_path, run=run) as launched:
            assert launched.end() == 0, launched.errors
    assert content(run) == content(whole), f"ACU_TEST_SEED={seed}"


def test_a_second_signal_does_not_wait_for_processes_that_hang(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Launched(*TRAIN, "--out", run, *settings(["schedule.iterations=1000000"]), directory=tmp_path, run=run) as it:
        it.wait_until_it_trains()
        ranks = it.ranks()
        for rank in ranks:
            os.kill(rank, signal.SIGSTOP)
        os.killpg(it.process.pid, signal.SIGINT)
        # The launcher is waiting for them then.
        time.sleep(1)
        os.killpg(it.process.pid, signal.SIGINT)
        assert it.end(ENDING_SECONDS) == 128 + signal.SIGINT
        (said,) = it.sentences()
        assert "did not end at SIGINT and were killed; the last checkpoint is whole" in said
    assert not any(map(is_there, ranks))


def test_a_process_that_is_killed_before_it_trains(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Launched(*TRAIN, "--out", run, directory=tmp_path, run=run) as launched:
        deadline = time.monotonic() + HANGING_SECONDS
        while len(launched.ranks()) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(launched.ranks()[1], signal.SIGKILL)
        status = launched.end(ENDING_SECONDS)
        failed("process 1 of 2 was killed (SIGKILL: the system does it where memory is short) before the training")(
            launched, status
        )
    assert not run.exists()


def test_a_loss_that_is_not_finite_is_said_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    diverging = settings(["schedule.iterations=20", "optimizer.learning_rate=1e30"])
    with Launched(*TRAIN, *diverging, "--out", run, directory=tmp_path, run=run) as launched:
        failed("the last good checkpoint is of iteration ", 2)(launched, launched.end())


def test_an_image_that_only_the_second_process_reads(tmp_path: Path) -> None:
    images, run = make_image_folder(tmp_path / "images", each=3), tmp_path / "run"
    # Six of eighteen images a batch, so each comes once in the first three; the second process has the last three rows.
    number = int(batch_indices(18, 6, seed=0, iteration=3)[4])
    (broken,) = sorted((images / "train" / CLASSES[number // 3]).glob(f"{number % 3}.*"))
    broken.write_bytes(b"x" * 1000)
    recipe = tmp_path / "pictures.toml"
    recipe.write_text(
        """
        name = "pictures"
        machine = { device = "cpu", threads = 1, workers = 1 }
        network = { name = "planted", unit = "acu", options = { width = 4 } }
        optimizer = { learning_rate = 0.05, position_learning_rate_factor = 0.05 }
        schedule = { iterations = 12, warm_up = 2, evaluate_every = 5, checkpoint_every = 1 }
        [data]
        name = "imagefolder"
        batch_size = 6
        evaluation_batch_size = 10
        options = { crop = 17, resize = 20 }
        """
    )
    words = [*ACU, "train", recipe, "--data", images, "--out", run, "--processes", "2", "--json"]
    with Launched(*words, directory=tmp_path, run=run) as launched:
        status = launched.end()
        error = json.loads(launched.out)["error"]
        launched.out = ""
        failed(f"{broken.name} cannot be read as an image", 2)(launched, status)
        (said,) = launched.sentences()
        assert said.removeprefix("error: ") == f"{error['message']}: {', or '.join(error['remedies'])}"
        assert error["remedies"][0] == f"go on with it by `acu train --resume {run} --processes 2`"
        assert "skip_broken" in error["remedies"][1]
    checkpoint = load_latest_checkpoint(RunDirectory.open(run))
    assert checkpoint is not None
    assert checkpoint.iteration == 2
    assert "(iteration 2 is saved)" in said


def test_what_the_launcher_finds_wrong_is_said_before_anything_starts(tmp_path: Path) -> None:
    code = "import sys; from acu_cli.app import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    for words, sentence in (
        (["plantd"], "did you mean planted"),
        (["--resume", "nowhere"], "there is no run at nowhere"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", code, "train", *words, "--processes", "2"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=HANGING_SECONDS,
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        (line,) = ended.stderr.splitlines()
        assert sentence in line
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_network_of_several_layers_is_trained_by_two_processes(tmp_path: Path) -> None:
    found = []
    network = settings(["schedule.iterations=2", "network.name=plain", "network.options={}"])
    for name, words in (("one", ["--processes", "1"]), ("two", ["--processes", "2", "--set", "machine.compile=true"])):
        run = tmp_path / name
        words = [*ACU, "train", "planted", *SMALL, *network, "--out", run, *words]
        with Launched(*words, directory=tmp_path, run=run) as launched:
            assert launched.end() == 0, launched.errors
        assert "Warning: " not in launched.errors
        found.append([record.loss for record in read_metrics(run / "metrics.jsonl").training])
    assert len(found[0]) == 2
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-4)
