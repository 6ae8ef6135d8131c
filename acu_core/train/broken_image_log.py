"""What a run says of image files that were left out: a warning for each, and a log of them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from acu_core.data.broken_images import BrokenImage
from acu_core.data.data_set import DataSet
from acu_core.errors import UserError
from acu_core.runs.json_lines import LogWriter, read_log
from acu_core.runs.run_directory import RunDirectory
from acu_core.train.events import Events

Collected = Callable[[list[BrokenImage]], list[list[BrokenImage]]]

_INSTEAD = {"train": "another image takes its place"}


def warn_of_broken_images(data: DataSet, events: Events) -> None:
    """Every file that `data` leaves out from now on is a warning, once."""
    if data.broken_images is not None:
        data.broken_images.listen(lambda image: events.warn(_sentence(image)))


def _sentence(image: BrokenImage) -> str:
    instead = _INSTEAD.get(image.part, f"it is not among the {image.part} images that are counted")
    return f"{image.name} cannot be read as an image ({image.reason}): {instead}"


def _alone(found: list[BrokenImage]) -> list[list[BrokenImage]]:
    return [found]


class BrokenImageLog:
    """A run's `broken_images.jsonl`: each file once, with the iteration by which it was found; made with the first.

    No state of a training: it is never cut back, and what a killed process has found is found again.
    """

    def __init__(self, run: RunDirectory, data: DataSet) -> None:
        self._run = run
        self._broken = data.broken_images
        self._known = logged_images(run) if self._broken is not None else set()
        self._seen = 0

    def update(self, iteration: int, collected: Collected = _alone, *, writes: bool = True) -> None:
        """Appends what was found since the last time.

        Where several processes train together all call it at the same iteration: `collected` gives the lists of all of
        them, each is told what the others have found, and one alone writes.
        """
        if self._broken is None:
            return
        found = self._broken.found
        for image in itertools.chain(*collected(list(found.values())[self._seen :])):
            self._broken.add(image)
        new = [image for image in list(found.values())[self._seen :] if image.name not in self._known]
        self._seen = len(found)
        if not new or not writes:
            return
        with _writer(self._run.broken_images) as log:
            for image in new:
                log.append({"file": image.name, "part": image.part, "iteration": iteration, "reason": image.reason})
                self._known.add(image.name)
            log.sync()


def logged_images(run: RunDirectory) -> set[str]:
    """The names of all files that were left out in a run."""
    if not run.broken_images.exists():
        return set()
    # A log that is damaged is no reason not to train on: files are then named again.
    with suppress(UserError):
        return {str(entry.get("file")) for entry in read_log(run.broken_images)}
    return set()


def _writer(path: Path) -> LogWriter:
    return LogWriter.open_for_append(path) if path.exists() else LogWriter(path)
