"""How fast image files become batches, beside PyTorch's DataLoader with torchvision's transforms."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acu_core.bench.timing import Timing
from acu_core.data.batches import batch_indices
from acu_core.data.image_files import ImageFiles, Preprocessing
from acu_core.data.image_folder import image_folder_data
from acu_core.errors import UserError

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reading:
    """How fast one of the two was, and what it gave: mean and standard deviation of the normalised images."""

    images_a_second: float
    seconds: Timing
    """Of a round."""
    mean: float
    std: float


@dataclass(frozen=True)
class DataFigures:
    """Both, reading the same training images in the same order, with crops of their own.

    `ratio` is the median, over rounds in which both read the same batches, of how much faster acu was;
    `ratio_spread` the distance between the quartiles. `validation_difference` is the largest difference of a value
    between both, over one batch of validation images, which have no random crops.
    """

    acu: Reading
    data_loader: Reading
    ratio: float
    ratio_spread: float
    validation_difference: float
    workers: int
    batch: int
    batches: int


class _Rounds:
    """As a batch sampler: the batches of one round after the other, those that acu reads."""

    def __init__(self, count: int, batch: int, batches: int) -> None:
        self._count, self._batch, self._batches = count, batch, batches
        self.first = 1

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in range(self.first, self.first + self._batches):
            yield batch_indices(self._count, self._batch, seed=0, iteration=iteration).tolist()

    def __len__(self) -> int:
        return self._batches


def measure_data(
    folder: Path,
    *,
    batch: int,
    batches_each: int,
    rounds: int,
    workers: int = 0,
    crop: int = 224,
    resize: int = 256,
    progress: Callable[[int], None] | None = None,
) -> DataFigures:
    """Reads batches of `batch` images with both, in turns, each with `workers` processes (0: auto).

    A round has `batches_each` batches for each process: a DataLoader's processes make whole batches, and none may be
    idle for want of one. Each reader begins a round with nothing read ahead, and ends it with its last batch, as
    float32 (B, 3, crop, crop) on the CPU. The first round of both, in which processes start, does not count.

    Raises `UserError` when `folder` is no image folder, or torchvision does not load.
    """
    preprocessing = Preprocessing.of(
        crop=crop, resize=resize, smallest_crop=0.08, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    with closing(image_folder_data(path=folder, workers=workers, preprocessing=preprocessing)) as data:
        batches = batches_each * data.workers
        order = _Rounds(data.train_count, batch, batches)
        train, validation = _torchvision_folders(Path(data.source), preprocessing)
        # Spawned, as acu's processes are: a fork would hold the pipes of those.
        loader = torch.utils.data.DataLoader(
            train,
            batch_sampler=order,
            num_workers=data.workers,
            persistent_workers=True,
            multiprocessing_context="spawn",
            worker_init_fn=_own_session,
        )
        readers: dict[str, Callable[[], Iterator[Batch]]] = {
            "acu": lambda: _acu_batches(data, order, batch),
            "data_loader": lambda: iter(loader),
        }
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        values: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        for number in range(rounds + 1):
            names = list(readers)
            for name in names if number % 2 else reversed(names):
                spent, last = _timed(readers[name])
                if number:
                    seconds[name].append(spent)
                    values[name].append((float(last.mean()), float(last.std())))
                data.rest()
            order.first += batches
            if number and progress is not None:
                progress(number)
        difference = _validation_difference(data, validation, batch)
        ratios = [theirs / ours for ours, theirs in zip(seconds["acu"], seconds["data_loader"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        return DataFigures(
            acu=_reading(seconds["acu"], values["acu"], batch * batches),
            data_loader=_reading(seconds["data_loader"], values["data_loader"], batch * batches),
            ratio=statistics.median(ratios),
            ratio_spread=high - low,
            validation_difference=difference,
            workers=data.workers,
            batch=batch,
            batches=batches,
        )


def _own_session(_: int) -> None:
    """As acu's processes have: Linux may share busy processors out by session."""
    os.setsid()


def _acu_batches(data: ImageFiles, order: _Rounds, batch: int) -> Iterator[Batch]:
    for iteration in range(order.first, order.first + len(order)):
        yield data.training_batch(iteration, batch_size=batch, seed=0, mirror=True)


def _timed(begin: Callable[[], Iterator[Batch]]) -> tuple[float, Tensor]:
    """Seconds until the last batch is there, and its images."""
    started = time.perf_counter()
    images = torch.empty(0)
    for images, _ in begin():  # noqa: B007
        pass
    return time.perf_counter() - started, images


def _reading(seconds: list[float], values: list[tuple[float, float]], images: int) -> Reading:
    timing = Timing.of(seconds)
    means, deviations = zip(*values, strict=True)
    return Reading(images / timing.median, timing, statistics.mean(means), statistics.mean(deviations))


def _validation_difference(data: ImageFiles, validation: Any, batch: int) -> float:
    with closing(data.test_batches(min(batch, data.test_count))) as batches:
        images, labels = next(batches)
    theirs = [validation[number] for number in range(len(images))]
    if [label for _, label in theirs] != labels.tolist():
        raise UserError(f"torchvision finds other images in {data.source}, so the two cannot be compared")
    return float((torch.stack([image for image, _ in theirs]) - images).abs().max())


def _torchvision_folders(root: Path, preprocessing: Preprocessing) -> tuple[Any, Any]:
    """The images of training and validation as torchvision's own trainings read them."""
    # torchvision's wheel raises RuntimeError beside a torch that it was not built for.
    try:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(f"torchvision, to compare with, does not load here ({error})") from error
    crops = preprocessing.crops
    to_input = [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(preprocessing.mean, preprocessing.std),
    ]
    random = [v2.RandomResizedCrop(crops.size, scale=(crops.smallest, 1.0)), v2.RandomHorizontalFlip()]
    centre = [v2.Resize(crops.resize), v2.CenterCrop(crops.size)]
    return (
        ImageFolder(str(root / "train"), v2.Compose([*random, *to_input])),
        ImageFolder(str(root / "val"), v2.Compose([*centre, *to_input])),
    )
