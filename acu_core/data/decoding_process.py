"""What a decoding process does. Imported by it before anything else, so nothing heavy is imported here."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import warnings
from multiprocessing.connection import Connection

import numpy as np
from PIL import UnidentifiedImageError

from acu_core.data.image_decoding import Crops, read_image, test_image, training_image

WITHHELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that are blocked while a process starts, until it has decided what they mean to it."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Files to decode: for training where `draws` holds a row of numbers for each file, else for evaluation."""

    paths: list[str]
    crops: Crops
    draws: list[list[float]] | None
    mirror: bool


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A file that cannot be decoded, its place among those asked for, and why; its pixels are 0."""

    place: int
    path: str
    reason: str


def serve(connection: Connection) -> None:
    """Answers every `Task` by a list of `Unreadable` and the bytes of (n, size, size, 3); ends with its parent.

    When the parent dies, of kill -9 too, the connection breaks, and so this process never stays behind.
    """
    _leave_signals_to_the_parent()
    # Pillow warns of odd metadata and palettes: an image that it decodes all the same is fine.
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, OSError):
        while True:
            pixels, unreadable = _decode(connection.recv())
            connection.send(unreadable)
            connection.send_bytes(pixels.reshape(-1).data)


def _leave_signals_to_the_parent() -> None:
    # Ctrl-C, kill and a closed terminal reach every process of the terminal's group: it is the parent's to save and to
    # stop, with workers that still answer. A session of its own keeps this process out of that group; what came before
    # is thrown away.
    for number in WITHHELD:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WITHHELD)


def _decode(task: Task) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], list[Unreadable]]:
    size = task.crops.size
    pixels = np.empty((len(task.paths), size, size, 3), dtype=np.uint8)
    unreadable = []
    for number, path in enumerate(task.paths):
        try:
            image = read_image(path)
            if task.draws is None:
                pixels[number] = test_image(image, task.crops)
            else:
                pixels[number] = training_image(image, task.crops, task.draws[number], task.mirror)
        # A damaged file raises almost anything: OSError, SyntaxError, struct.error, ValueError, ...
        except Exception as error:
            pixels[number] = 0
            reason = (str(error) or type(error).__name__).replace(path, "the file")
            if isinstance(error, UnidentifiedImageError):
                # Its own words end with Python's name of the open file.
                reason = "cannot identify image format"
            # A name that is no text may be quoted in it.
            unreadable.append(Unreadable(number, path, reason.encode(errors="backslashreplace").decode()))
    return pixels, unreadable
