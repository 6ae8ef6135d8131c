"""What every data set is here: training batches by iteration, test batches in order, and hashes that identify it."""

from __future__ import annotations

import abc
import hashlib
import itertools
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acu_core.data.broken_images import BrokenImage, BrokenImages
from acu_core.errors import UserError


class DataSet(abc.ABC):
    """Images and labels of one classification task, ready for a network.

    Images are (B, C, H, W) float32, preprocessed; labels (B,) int64 in 0..classes-1; both on the device of the last
    `to`. `hidden_positions` is (1, K, 2) in (y, x) pixels for the planted data, whose true shape is known, else None
    (it stays on the CPU: it is for reports and pictures).

    `fingerprint` holds SHA-256 hashes by what they were computed from: "data" (raw images and labels), "statistics"
    (what the images were preprocessed with, where that was computed), "names_and_sizes" (of the files, where reading
    them all would take hours), "validation" (which images are held out of the training set, where any are).
    `source` says where the data came from: a path, or "generated". `workers` is the number of processes that decode
    images, 0 where the data lies in memory; it never decides what a batch holds. `broken_images` are the files that
    were left out, for data that may leave some out. `test_part` is what the images that are kept from training are
    called: "test" or "validation".
    """

    name: str
    class_names: tuple[str, ...]
    hidden_positions: Tensor | None = None
    fingerprint: Mapping[str, str]
    source: str
    workers: int = 0
    test_part: str = "test"
    broken_images: BrokenImages | None = None

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """The number of input channels."""

    @property
    @abc.abstractmethod
    def train_count(self) -> int:
        """The number of training images."""

    @property
    @abc.abstractmethod
    def test_count(self) -> int:
        """The number of test images."""

    @property
    def validation(self) -> DataSet | None:
        """The same data set with the images held out of its training set in the test images' place.

        None where none are held out.
        """
        return None

    def hold_out(self, count: int, seed: int) -> DataSet:
        """The same data set with `count` training images, drawn by `seed`, held out for validation.

        Raises `UserError` where it cannot do that, or has too few.
        """
        raise UserError(f"the data set {self.name} cannot hold images out: leave data.validation_images at 0")

    @abc.abstractmethod
    def to(self, device: torch.device | str) -> DataSet:
        """The same data set with its batches on `device`."""

    @abc.abstractmethod
    def training_batch(
        self, iteration: int, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Images (batch_size, C, H, W) and labels (batch_size,) of `iteration`, which counts from 1, augmented.

        A pure function of its arguments: see `batch_indices` for which images it holds. `crop_padding` is the
        reflection before a random crop, `mirror` whether images are flipped left to right half of the time.
        Raises `UserError` for arguments that do not fit the data, and for an image that cannot be read.
        """

    @abc.abstractmethod
    def test_batches(self, batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """All test images with their labels, in a fixed order; the last batch may be smaller.

        Raises `UserError` for an image that cannot be read.
        """

    def training_rows(
        self, iteration: int, rows: range, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Rows `rows` of the `training_batch` of the same arguments: one process's share of it.

        A data set that can make them alone does, to the same bits; by default all are made, and some taken.
        """
        images, labels = self.training_batch(
            iteration, batch_size=batch_size, seed=seed, crop_padding=crop_padding, mirror=mirror
        )
        return images[rows.start : rows.stop], labels[rows.start : rows.stop]

    def some_test_batches(self, batch_size: int, numbers: range) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Those of the `test_batches` that bear these numbers, counted from 0: one process's share of them."""
        yield from itertools.islice(self.test_batches(batch_size), numbers.start, numbers.stop)

    def check_left_out(self, number: int, first: BrokenImage) -> None:  # noqa: B027
        """Raises `UserError` where `number` of all test images, `first` among them, are too many to be left out."""


def sha256_of(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """The hash of the arrays' dtypes, shapes and values, in this order, whatever file they came from."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
