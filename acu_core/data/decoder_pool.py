"""Processes that decode image files, and the batches that they are asked for ahead of time."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import queue
import signal
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, wait
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from acu_core.data.decoding_process import WITHHELD, Task, Unreadable, serve
from acu_core.data.image_decoding import Crops
from acu_core.errors import Action, Remedy, UserError

MOST_WORKERS = 16
_CHUNK = 16  # images at most a task: the processes finish a batch at about the same time, and stop within a moment

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class UnreadableImageError(UserError):
    """An image file is damaged, or the process that read it has died."""


def unreadable_error(image: Unreadable) -> UnreadableImageError:
    """The error that names a file which cannot be decoded."""
    return UnreadableImageError(
        f"{image.path} cannot be read as an image ({image.reason}): put a whole copy in its place",
        Remedy(Action.SKIP_BROKEN),
    )


def automatic_workers() -> int:
    """As many as this process may use processors, at most 16."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MOST_WORKERS)


@dataclasses.dataclass(frozen=True)
class PendingBatch:
    """A batch that is being decoded."""

    _pixels: Pixels
    _parts: list[Future[list[Unreadable]]]

    def result(self) -> Pixels:
        """Waits for (B, size, size, 3) uint8. Raises `UnreadableImageError` for the first image that has none."""
        pixels, unreadable = self.what_can_be_read()
        if unreadable:
            raise unreadable_error(unreadable[0])
        return pixels

    def what_can_be_read(self) -> tuple[Pixels, list[Unreadable]]:
        """Waits for (B, size, size, 3) uint8 and the images that have none, by their places in the batch.

        Raises `UnreadableImageError` when a process has died.
        """
        return self._pixels, [image for part in self._parts for image in part.result()]

    def cancel(self) -> None:
        """Lets go of what no process has begun with."""
        for part in self._parts:
            part.cancel()

    def abandon(self) -> None:
        """Lets go of it, and waits for what a process has begun with."""
        self.cancel()
        wait(self._parts)


@dataclasses.dataclass(frozen=True)
class _Order:
    task: Task
    pixels: Pixels
    first: int
    """The place of the first image in its batch."""
    done: Future[list[Unreadable]]


_Orders = queue.SimpleQueue[_Order | None]


class DecoderPool:
    """`workers` processes, started with the first batch and kept until `close`, or until the pool is forgotten.

    The processes are spawned, not forked: a fork would copy the threads' locks of PyTorch in whatever state they are,
    a CUDA context that is unusable in a child, the lock of the run, which it would hold beyond the run's death, and the
    handlers that make Ctrl-C save a checkpoint. A spawned process begins empty and inherits no open file. As with
    every spawned process in Python, a script that trains needs `if __name__ == "__main__":`.

    torch.utils.data.DataLoader was tried in its place: as many lines around it, 0.9 times as fast, and each of its
    processes imports PyTorch (560 MB and seconds, where these take 40 MB); a dead one is missed after five seconds.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._orders: _Orders = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._finalizer = weakref.finalize(self, _dismiss, self._orders, workers)

    def decode(
        self, paths: list[str], crops: Crops, draws: list[list[float]] | None = None, *, mirror: bool = False
    ) -> PendingBatch:
        """Begins with a batch: training crops where `draws` has a row for each of the files, else evaluation crops."""
        if not self._threads:
            self._start()
        pixels = np.empty((len(paths), crops.size, crops.size, 3), dtype=np.uint8)
        chunk = min(_CHUNK, -(-len(paths) // self.workers))
        parts = []
        for start in range(0, len(paths), chunk):
            rows = slice(start, start + chunk)
            task = Task(paths[rows], crops, draws[rows] if draws is not None else None, mirror)
            order = _Order(task, pixels[rows], start, Future())
            self._orders.put(order)
            parts.append(order.done)
        return PendingBatch(pixels, parts)

    def close(self) -> None:
        """Ends the processes, after the images that they are at. The pool cannot be used afterwards."""
        self._finalizer()
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        # Python's own helper process unblocks the signals when it starts, so it must be there before they are blocked.
        resource_tracker.ensure_running()
        with _withheld_signals():
            for number in range(self.workers):
                ours, theirs = context.Pipe()
                # Daemons: Python ends them at its exit, whatever happened.
                process = context.Process(target=serve, args=(theirs,), name=f"acu-decoder-{number}", daemon=True)
                process.start()
                theirs.close()
                # A thread for each process, so that a finished part waits in memory and not in a process. It knows
                # nothing of the pool, which can therefore be forgotten.
                thread = threading.Thread(target=_attend, args=(self._orders, ours, process), daemon=True)
                thread.start()
                self._threads.append(thread)


@contextlib.contextmanager
def _withheld_signals() -> Iterator[None]:
    """A process inherits what its starter blocks: Ctrl-C cannot catch it, with a traceback, while it imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WITHHELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _dismiss(orders: _Orders, workers: int) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            order = orders.get_nowait()
            if order is not None:
                order.done.cancel()
    for _ in range(workers):
        orders.put(None)


def _attend(orders: _Orders, connection: Connection, process: BaseProcess) -> None:
    """Hands orders to one process until None comes; a process that has died fails every order that it gets."""
    with connection:
        while (order := orders.get()) is not None:
            if not order.done.set_running_or_notify_cancel():
                continue
            try:
                connection.send(order.task)
                answer: list[Unreadable] = connection.recv()
                connection.recv_bytes_into(order.pixels.reshape(-1).data)
                order.done.set_result([dataclasses.replace(image, place=order.first + image.place) for image in answer])
            except (EOFError, OSError):
                process.join(timeout=10)
                order.done.set_exception(
                    UnreadableImageError(
                        f"a process that decodes images ended (exit code {process.exitcode}) before it had read "
                        f"{order.task.paths[0]}: memory may be short, so try machine.workers = 1; a script of yours "
                        'needs `if __name__ == "__main__":` around its training'
                    )
                )
    process.join(timeout=10)
