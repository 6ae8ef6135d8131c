"""Several runs of a series at once, each by a real process: what one of them suffers is no other's."""

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

from acu_core.errors import Remedy, UserError
from acu_core.reproduce import job_queue, reproduction, shared_threads
from acu_core.reproduce.job_process import JobProcess
from acu_core.reproduce.job_queue import train_at_once
from acu_core.reproduce.order import Order
from acu_core.reproduce.plan import PlannedRun, RunState
from acu_core.reproduce.reproduction import Request, reproduce
from acu_core.reproduce.sweep import plan_sweep, sweep
from acu_core.reproduce.sweep_settings import Axis, SweepRequest
from acu_core.reproduce.tables import Table, find_table
from acu_core.runs.checkpoints import load_latest_checkpoint
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.events import NoEvents

SCALE = 1e-9
THREE = Axis.of("optimizer.learning_rate=0.1,0.05,0.02")
TWO = Axis.of("optimizer.learning_rate=0.1,0.05")


def request(out: Path, rates: Axis, *, jobs: int, iterations: int = 40) -> SweepRequest:
    overrides = (
        "machine.threads=1",
        "machine.device=cpu",
        "data.batch_size=16",
        "data.options={train_count=200, test_count=50}",
        f"schedule.iterations={iterations}",
        "schedule.warm_up=3",
        "schedule.divisions=[]",
        "schedule.evaluate_every=0",
        "schedule.checkpoint_every=5",
    )
    return SweepRequest("planted", (rates,), overrides, out=out, jobs=jobs)


class Told(NoEvents):
    """Remembers what it is told of several runs, and acts on it."""

    def __init__(self, act: Callable[[str, int], None] = lambda name, done: None) -> None:
        self.act = act
        self.warnings: list[str] = []
        self.at_once: list[int] = []
        self.shown: set[str] = set()

    def job(self, name: str, done: int, total: int, loss: float | None, accuracy: float | None) -> None:
        assert 0 <= done <= total
        self.shown.add(name)
        self.at_once.append(len(self.shown))
        self.act(name, done)

    def job_ended(self, name: str) -> None:
        self.shown.remove(name)

    def warn(self, text: str, *remedies: Remedy) -> None:
        self.warnings.append(text)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[JobProcess]]:
    """The processes in the order in which they were started; none of them is left at the end."""
    started: list[JobProcess] = []

    class Listed(JobProcess):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(job_queue, "JobProcess", Listed)
    yield started
    assert not [job.number for job in started if Path(f"/proc/{job.number}").exists()]


def results(out: Path) -> dict[str, bytes]:
    """All that is the same in two equal series, by file."""
    names = ("recipe.toml", "metrics.jsonl", "positions.bin", "environment.json")
    found = {}
    for run in sorted(path for path in out.iterdir() if path.is_dir()):
        checkpoint = load_latest_checkpoint(RunDirectory.open(run))
        assert checkpoint is not None
        found[f"{run.name} {checkpoint.iteration}"] = b"".join(
            tensor.numpy().tobytes() for tensor in checkpoint.model.values()
        )
        found |= {f"{run.name}/{name}": (run / name).read_bytes() for name in names}
    return found


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "planted"
    assert sweep(request(out, THREE, jobs=1)).done == 3
    return out


def test_a_killed_job_harms_no_other_and_is_repeated_alone(
    tmp_path: Path, one_after_the_other: Path, processes: list[JobProcess]
) -> None:
    out = tmp_path / "planted"
    killed: list[int] = []

    def kill(name: str, done: int) -> None:
        if "0.05" in name and not killed and len(processes) > 1:
            killed.append(processes[1].number)
            os.kill(killed[0], signal.SIGKILL)

    told = Told(kill)
    found = sweep(request(out, THREE, jobs=2), events=told)
    assert [found.states[run.path].done for run in found.runs] == [True, False, True]
    assert max(told.at_once) == 2
    (problem,) = found.problems.values()
    assert problem.startswith("its process was ended by SIGKILL, as where memory is short")
    assert any("seed 0, failed, going on with the others" in text for text in told.warnings)
    assert len(processes) == 3
    again = sweep(request(out, THREE, jobs=2))
    assert (again.done, again.problems) == (3, {})
    assert len(processes) == 4, "only the one that was killed is trained again"
    assert results(out) == results(one_after_the_other), "bit for bit those of one process"


def test_a_signal_saves_them_all_and_another_number_of_jobs_goes_on(
    tmp_path: Path, processes: list[JobProcess]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    many = 250
    started: set[str] = set()

    def stop(name: str, done: int) -> None:
        started.update({name} if done else ())
        if len(started) == 2:
            # As a cluster does it: every process of the job is told, and those of a job once more by their parent.
            for number in (os.getpid(), *(job.number for job in processes)):
                os.kill(number, signal.SIGTERM)
            started.add("stopped")

    told = Told(stop)
    stopped = sweep(request(out, TWO, jobs=2, iterations=many), events=told)
    assert (stopped.stopped_by, stopped.done, stopped.problems) == ("SIGTERM", 0, {})
    assert told.warnings == []
    assert all(0 < stopped.states[run.path].iteration < many for run in stopped.runs)
    assert sweep(request(out, TWO, jobs=1, iterations=many)).done == 2
    assert len(processes) == 2
    assert sweep(request(whole, TWO, jobs=1, iterations=many)).done == 2
    assert results(out) == results(whole)


def test_no_process_outlives_the_one_that_gave_the_order(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_jobs\nfrom pathlib import Path\n"
        f"test_jobs.sweep(test_jobs.request(Path({str(out)!r}), test_jobs.TWO, jobs=2, iterations=1000000))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 200
        # Of each run: only its newest two stay.
        while len({file.parent for file in out.glob("*/checkpoints/*.pt") if file.stem != "00000000"}) < 2:
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 2
    finally:
        parent.kill()
        parent.wait()
    while any(Path(f"/proc/{number}").exists() and state_of(number) != "Z" for number in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for run in out.iterdir():
        if run.is_dir():
            # Saved at its last iteration, as by Ctrl-C.
            checkpoint = load_latest_checkpoint(RunDirectory.open(run))
            assert checkpoint is not None
            lines = (run / "metrics.jsonl").read_bytes().count(b"\n")
            assert lines == checkpoint.iteration


def state_of(number: str) -> str:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_row_waits_for_the_run_that_it_starts_from(
    tmp_path: Path, tiny_cifar10: Path, processes: list[JobProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation = find_table("ablation")
    rows = tuple(row for row in ablation.rows if row.recipe in ("cifar10-plain-acu", "cifar10-plain-acu-round"))
    assert len(rows) == 2
    monkeypatch.setattr(reproduction, "find_table", lambda name: Table(name, ablation.title, rows))
    order: list[str] = []
    told = Told(lambda name, done: order.append(name) if name not in order else None)
    result = reproduce(Request("ablation", 1, SCALE, tiny_cifar10, tmp_path, "cpu", jobs=2), events=told)
    assert (result.result.done, len(processes)) == (2, 2)
    assert max(told.at_once) == 1, "there is nothing to be trained beside it"
    assert order == ["ACU-all, seed 0", "ACU-Round, seed 0"]
    assert result.result.made_by == ""


def test_a_run_waits_for_its_start_whatever_the_order_and_is_named_where_that_failed(tmp_path: Path) -> None:
    bad, good = plan_sweep(request(tmp_path, Axis.of("optimizer.learning_rate=1e30,0.1"), jobs=2, iterations=6))
    child = PlannedRun(good.row, good.recipe, 0, good.path, parent=bad.path)
    ended: list[tuple[str, str | None]] = []

    def order(run: PlannedRun) -> Order:
        if run.parent is not None:
            assert [name for name, _ in ended] == [bad.path.name]
            raise UserError("it starts from what is not finished")
        return Order(run.recipe, run.path, False, None, None, False, "cpu", 1)

    stopped_by = train_at_once(
        [child, bad],
        2,
        order=order,
        states=lambda: {run.path: RunState(False) for run in (bad, child)},
        ended=lambda run, problem, remedies: ended.append((run.path.name, problem)),
        events=NoEvents(),
    )
    assert stopped_by is None
    (first, why), (second, missing) = ended
    assert (first, second) == (bad.path.name, child.path.name)
    assert why is not None
    assert "start again with a smaller optimizer.learning_rate" in why
    assert missing == "it starts from what is not finished"


@pytest.mark.parametrize(
    ("recorded", "jobs", "threads", "warned"),
    [
        (None, 1, 8, False),
        (None, 3, 2, False),
        (None, 20, 1, False),
        (8, 2, 8, True),
        (2, 4, 2, False),
        (2, 1, 2, False),
    ],
)
def test_threads_are_settled_once_for_a_series(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: int | None,
    jobs: int,
    threads: int,
    warned: bool,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    sweep_request = SweepRequest("planted", (THREE,), ("machine.threads=0",), seeds=2, out=tmp_path)
    runs = plan_sweep(sweep_request)
    states = {run.path: RunState(False) for run in runs}
    if recorded is not None:
        states[runs[0].path] = RunState(True, 5, environment={"threads": recorded})
    told = Told()
    assert shared_threads.threads_of_each(runs, states, jobs, told) == threads
    assert bool(told.warnings) == warned


def test_the_threads_of_a_job_are_those_of_the_series(tmp_path: Path, processes: list[JobProcess]) -> None:
    overrides = (*request(tmp_path, TWO, jobs=1, iterations=4).overrides, "machine.threads=0")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one = Axis.of("optimizer.learning_rate=0.1")
        assert sweep(SweepRequest("planted", (one,), overrides, out=tmp_path / "out")).done == 1
        told = Told()
        found = sweep(SweepRequest("planted", (TWO,), overrides, out=tmp_path / "out", jobs=2), events=told)
        assert (found.done, len(processes)) == (2, 1)
    finally:
        torch.set_num_threads(before)
    recorded = {RunDirectory.open(run).environment["threads"] for run in (tmp_path / "out").iterdir() if run.is_dir()}
    assert recorded == {2}
    assert not [text for text in told.warnings if "bits" in text]


def test_each_place_has_a_gpu_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plan_sweep(SweepRequest("planted", (TWO,), (), out=tmp_path))[0]
    order = Order(run.recipe, run.path, False, None, None, False, None, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [job_queue._visible_devices(order, None, place) for place in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [job_queue._visible_devices(order, {"device": "cuda"}, place) for place in range(3)] == ["5", "7", "5"]
    assert job_queue._visible_devices(order, {"device": "cuda:1"}, 0) is None, "the run names its own"
    assert job_queue._visible_devices(order, {"device": "cpu"}, 0) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert job_queue._visible_devices(order, None, 1) is None
