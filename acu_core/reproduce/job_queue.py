"""Trains several runs at once, each in a process of its own: none takes another with it."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from acu_core.errors import Remedy, UserError
from acu_core.reproduce.job_process import JobProcess, Message, remedies_of
from acu_core.reproduce.order import Order
from acu_core.reproduce.plan import PlannedRun, RunState
from acu_core.train.events import Events
from acu_core.train.interruption import Interruption

_ASKING_SECONDS = 0.2


@runtime_checkable
class JobListener(Protocol):
    """What `Events` may have besides, to tell several runs at once apart."""

    def job(self, name: str, done: int, total: int, loss: float | None, accuracy: float | None) -> None:
        """The run `name` is being trained, and `done` of its `total` iterations are done."""

    def job_ended(self, name: str) -> None:
        """It is trained no more, for whatever reason."""


class Ended(Protocol):
    """Is told of a run that has ended; `problem` is None where it is finished."""

    def __call__(self, run: PlannedRun, problem: str | None, remedies: Sequence[Remedy]) -> None:
        """Returns when the run is accounted for."""


def train_at_once(
    pending: Sequence[PlannedRun],
    jobs: int,
    *,
    order: Callable[[PlannedRun], Order],
    states: Callable[[], Mapping[Path, RunState]],
    ended: Ended,
    events: Events,
) -> str | None:
    """Trains the runs, `jobs` of them at a time; the name of the signal that stopped it, if one did.

    They begin in their order, but for those that start from another run: they wait for its end. `order` raises
    UserError for a run that cannot be trained. On a first signal every process saves and ends; on a second one they are
    ended where they are, and their last checkpoints stand.
    """
    with Interruption() as interruption:
        queued = _Queue(pending, jobs, order, states, ended, events)
        try:
            queued.train(lambda: interruption.requested)
        except KeyboardInterrupt:
            queued.end()
            return interruption.signal_name or "SIGINT"
        except BaseException:
            # They save what they have, as when this process dies.
            queued.stop()
            queued.close()
            raise
    return interruption.signal_name if queued.was_stopped else None


class _Queue:
    """The runs that wait and those that are trained."""

    def __init__(
        self,
        pending: Sequence[PlannedRun],
        jobs: int,
        order: Callable[[PlannedRun], Order],
        states: Callable[[], Mapping[Path, RunState]],
        ended: Ended,
        events: Events,
    ) -> None:
        self._waiting = list(pending)
        self._order = order
        self._states = states
        self._told_ended = ended
        self._events = events
        self._said: queue.SimpleQueue[tuple[JobProcess, Message | None]] = queue.SimpleQueue()
        self._trained: dict[JobProcess, PlannedRun] = {}
        self._places: dict[JobProcess, int] = {}
        self._free = list(range(jobs))
        # What came of each: None while nothing is known.
        self._last: dict[JobProcess, Message | None] = {}
        self._done = {run.path: states()[run.path].iteration for run in pending}
        self._stopping = False
        self.was_stopped = False
        events.begin(sum(run.iterations for run in pending), sum(self._done.values()))

    def train(self, is_to_stop: Callable[[], bool]) -> None:
        """Trains them to their ends, or until it is to stop."""
        while True:
            if is_to_stop() and not self._stopping:
                self.was_stopped = bool(self._waiting)
                self.stop()
            if not self._stopping:
                self._begin_what_can_be()
            if not self._trained:
                return
            try:
                job, message = self._said.get(timeout=_ASKING_SECONDS)
            except queue.Empty:
                continue
            if message is None:
                self._ended(job)
            else:
                self._told(job, message)

    def stop(self) -> None:
        """Begins no more; those that are trained save and end."""
        self._stopping = True
        for job in self._trained:
            job.stop()

    def end(self) -> None:
        """Ends all of them at once."""
        for job in self._trained:
            job.kill()
        self.close()

    def close(self) -> None:
        """Returns when their processes have ended."""
        for job in self._trained:
            job.close()

    def _begin_what_can_be(self) -> None:
        for run in list(self._waiting):
            if not self._free:
                return
            if run.parent is not None and any(
                other.path == run.parent for other in (*self._waiting, *self._trained.values())
            ):
                continue
            self._waiting.remove(run)
            try:
                order = self._order(run)
            except UserError as error:
                self._told_ended(run, str(error), error.remedies)
                continue
            place = self._free.pop(0)
            environment = self._states()[run.path].environment
            try:
                job = JobProcess(order, self._said, _visible_devices(order, environment, place))
            except OSError as error:
                self._free.insert(0, place)
                self._told_ended(run, f"no process can be started for it: {error.strerror}", ())
                continue
            self._trained[job], self._places[job], self._last[job] = run, place, None
            self._show(run, None, None)

    def _told(self, job: JobProcess, message: Message) -> None:
        run, kind = self._trained[job], message["kind"]
        if kind == "advance":
            self._done[run.path] = message["done"]
            self._show(run, message["loss"], message["accuracy"])
        elif kind == "note":
            self._events.note(f"{_name(run)}: {message['text']}")
        elif kind == "warn":
            self._events.warn(f"{_name(run)}: {message['text']}", *remedies_of(message))
        else:
            self._last[job] = message

    def _show(self, run: PlannedRun, loss: float | None, accuracy: float | None) -> None:
        if isinstance(self._events, JobListener):
            self._events.job(_name(run), self._done[run.path], run.iterations, loss, accuracy)
        self._events.advance(sum(self._done.values()), _name(run), loss, accuracy)

    def _ended(self, job: JobProcess) -> None:
        run, message = self._trained[job], self._last.pop(job)
        problem: str | None = None
        remedies: Sequence[Remedy] = ()
        if message is None:
            problem = job.why_it_ended()
        elif message["kind"] == "failed":
            problem, remedies = message["message"], remedies_of(message)
        elif message["stopped_by"] is not None and self._stopping:
            self.was_stopped = True
        elif message["stopped_by"] is not None:
            problem = f"it was stopped by {message['stopped_by']}, and is saved"
        job.close()
        del self._trained[job]
        self._free = sorted([*self._free, self._places.pop(job)])
        if isinstance(self._events, JobListener):
            self._events.job_ended(_name(run))
        if problem is not None:
            self._done[run.path] = run.iterations
        self._told_ended(run, problem, remedies)


def _name(run: PlannedRun) -> str:
    return f"{run.row.name}, seed {run.seed}"


def _visible_devices(order: Order, environment: Mapping[str, object] | None, place: int) -> str | None:
    """The one GPU of a job's place, in turn; None where there are fewer than two, or the run names its own.

    The process then calls it `cuda`, as one that sees them all does: what is recorded does not depend on the place.
    """
    devices = {order.recipe.machine.device, order.device or "auto", str((environment or {}).get("device", "auto"))}
    if not devices <= {"auto", "cuda"} or not torch.cuda.is_available():
        return None
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = listed.split(",") if listed else [str(number) for number in range(torch.cuda.device_count())]
    return names[place % len(names)] if len(names) > 1 else None
