"""Data sets of image files, too large for memory: decoded while training goes on, by processes of their own."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acu_core.data.batches import batch_indices
from acu_core.data.data_set import DataSet
from acu_core.data.decoder_pool import DecoderPool, PendingBatch, automatic_workers
from acu_core.data.device_copy import sent
from acu_core.data.image_decoding import DRAWS, Crops
from acu_core.data.randomness import generator_for
from acu_core.errors import UserError

AHEAD = 2
"""Batches that are decoded before they are asked for."""

IMAGE_NET_CROPS = Crops(224, 256, 0.08)
IMAGE_NET_MEAN = (0.485, 0.456, 0.406)
IMAGE_NET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class FileList:
    """The files of one part of a data set: full paths, labels (N,), and sizes in bytes (N,)."""

    paths: list[str]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How decoded images become the network's input: the crops, then (value / 255 - mean) / std for each channel."""

    crops: Crops = IMAGE_NET_CROPS
    mean: tuple[float, ...] = IMAGE_NET_MEAN
    std: tuple[float, ...] = IMAGE_NET_STD

    @staticmethod
    def of(
        *, crop: int, resize: int, smallest_crop: float, mean: Iterable[float], std: Iterable[float]
    ) -> Preprocessing:
        """From a recipe's options, which `acu_core.recipe.data_sets.image_files` has checked."""
        return Preprocessing(Crops(crop, resize, smallest_crop), tuple(mean), tuple(std))


class ImageFiles(DataSet):
    """Images (B, 3, size, size) float32 of files; see `DataSet`. Only the lists of the files are kept in memory.

    A training batch is a pure function of (seed, iteration, place in the batch), whatever the number of workers; the
    next `AHEAD` batches are decoded while the network trains. `workers` of 0 is automatic. The fingerprint is of
    the files' names, labels and sizes: reading a hundred gigabytes at every start would take longer than it is worth.
    """

    test_part = "validation"

    def __init__(
        self,
        name: str,
        class_names: tuple[str, ...],
        train: FileList,
        test: FileList,
        preprocessing: Preprocessing,
        *,
        root: str,
        workers: int = 0,
    ) -> None:
        self.name = name
        self.class_names = class_names
        self.source = root
        self.workers = workers or automatic_workers()
        self.fingerprint: Mapping[str, str] = {"names_and_sizes": _hash(root, class_names, train, test)}
        self._train, self._test = train, test
        self._preprocessing = preprocessing
        self._pool = DecoderPool(self.workers)
        self._ahead: dict[tuple[int, int, int, bool], PendingBatch] = {}
        self._device = torch.device("cpu")

    @property
    def channels(self) -> int:
        """Three: whatever the files hold becomes RGB."""
        return 3

    @property
    def train_count(self) -> int:
        """The number of training images."""
        return len(self._train.paths)

    @property
    def test_count(self) -> int:
        """The number of test images."""
        return len(self._test.paths)

    def to(self, device: torch.device | str) -> ImageFiles:
        """The same data set with its batches on `device`; both share the decoding processes."""
        moved = copy.copy(self)
        moved._device = torch.device(device)
        return moved

    def training_batch(
        self, iteration: int, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `DataSet`; the crops are those of `Crops`, so a `crop_padding` is refused."""
        if crop_padding:
            raise UserError("crop_padding is for images in memory: image files are cropped by their own options.")
        wanted = [(number, batch_size, seed, mirror) for number in range(iteration, iteration + 1 + AHEAD)]
        for key in [key for key in self._ahead if key not in wanted]:
            self._ahead.pop(key).cancel()
        for key in wanted:
            if key not in self._ahead:
                self._ahead[key] = self._begin(*key)
        pixels = self._ahead.pop(wanted[0]).result()
        indices = batch_indices(self.train_count, batch_size, seed=seed, iteration=iteration)
        return self._normalized(pixels), sent(torch.from_numpy(self._train.labels[indices.numpy()]), self._device)

    def test_batches(self, batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See `DataSet`."""
        pending: deque[PendingBatch] = deque()
        starts = range(0, self.test_count, batch_size)
        try:
            for number, start in enumerate(starts):
                for later in starts[number + len(pending) : number + 1 + AHEAD]:
                    paths = self._test.paths[later : later + batch_size]
                    pending.append(self._pool.decode(paths, self._preprocessing.crops))
                pixels = pending.popleft().result()
                labels = torch.from_numpy(self._test.labels[start : start + batch_size])
                yield self._normalized(pixels), sent(labels, self._device)
        finally:
            for batch in pending:
                batch.cancel()

    def close(self) -> None:
        """Ends the decoding processes, which otherwise end when the data set is forgotten."""
        self._pool.close()

    def _begin(self, iteration: int, batch_size: int, seed: int, mirror: bool) -> PendingBatch:
        indices = batch_indices(self.train_count, batch_size, seed=seed, iteration=iteration)
        draws = generator_for(seed, "image crops", iteration).random((batch_size, DRAWS))
        paths = [self._train.paths[index] for index in indices.tolist()]
        return self._pool.decode(paths, self._preprocessing.crops, draws.tolist(), mirror=mirror)

    def _normalized(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        # Bytes travel to the device, a quarter of what floats would be.
        images = sent(torch.from_numpy(pixels), self._device).permute(0, 3, 1, 2).float()
        mean, std = (
            sent(torch.tensor(values), self._device).view(-1, 1, 1)
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )
        return images.div_(255).sub_(mean).div_(std)


def _hash(root: str, class_names: tuple[str, ...], *parts: FileList) -> str:
    digest = hashlib.sha256("\0".join(class_names).encode())
    for part in parts:
        digest.update(f"\n{len(part.paths)}\n".encode())
        for path, label, size in zip(part.paths, part.labels.tolist(), part.sizes.tolist(), strict=True):
            # Relative, so that a moved data set is still the same.
            digest.update(f"{path.removeprefix(root)}\0{label}\0{size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
