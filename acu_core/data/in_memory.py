"""Data sets small enough to lie on the device as one tensor, preprocessed once and augmented in vectorised form."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from acu_core.data.augmentation import check_padding, crop_places, cropped
from acu_core.data.batches import batch_indices
from acu_core.data.data_set import DataSet
from acu_core.data.device_copy import sent
from acu_core.data.held_out import hash_of_numbers, held_out_numbers


@dataclasses.dataclass(frozen=True)
class InMemoryData(DataSet):
    """Shapes: `train_images` (N, C, H, W) and `test_images` (M, C, H, W), float32 and already preprocessed;
    `train_labels` (N,) and `test_labels` (M,), int64; `validation_images` and `validation_labels`, like those, are no
    part of the training images. For the rest see `DataSet`.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    hidden_positions: Tensor | None = None
    fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = "generated"
    validation_images: Tensor | None = None
    validation_labels: Tensor | None = None

    @property
    def channels(self) -> int:
        """The number of input channels."""
        return self.train_images.shape[1]

    @property
    def train_count(self) -> int:
        """The number of training images."""
        return len(self.train_images)

    @property
    def test_count(self) -> int:
        """The number of test images."""
        return len(self.test_images)

    @property
    def validation(self) -> InMemoryData | None:
        """See `DataSet`."""
        if self.validation_images is None or self.validation_labels is None:
            return None
        return dataclasses.replace(
            self,
            test_images=self.validation_images,
            test_labels=self.validation_labels,
            validation_images=None,
            validation_labels=None,
        )

    def hold_out(self, count: int, seed: int) -> InMemoryData:
        """See `DataSet`; the images stay preprocessed as they are."""
        kept, held_out = held_out_numbers(self.train_count, count, seed)
        return dataclasses.replace(
            self,
            train_images=self.train_images[torch.from_numpy(kept)],
            train_labels=self.train_labels[torch.from_numpy(kept)],
            validation_images=self.train_images[torch.from_numpy(held_out)],
            validation_labels=self.train_labels[torch.from_numpy(held_out)],
            fingerprint={**self.fingerprint, "validation": hash_of_numbers(held_out)},
        )

    def to(self, device: torch.device | str) -> InMemoryData:
        """The same data set with its images and labels on `device`, each as one tensor."""
        return dataclasses.replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
            validation_images=None if self.validation_images is None else self.validation_images.to(device),
            validation_labels=None if self.validation_labels is None else self.validation_labels.to(device),
        )

    def training_batch(
        self, iteration: int, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `DataSet`; the crop is `random_crop_and_mirror`'s."""
        return self.training_rows(
            iteration, range(batch_size), batch_size=batch_size, seed=seed, crop_padding=crop_padding, mirror=mirror
        )

    def training_rows(
        self, iteration: int, rows: range, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `DataSet`."""
        indices = batch_indices(self.train_count, batch_size, seed=seed, iteration=iteration)[rows.start : rows.stop]
        device = self.train_images.device
        if not (crop_padding or mirror):
            indices = sent(indices, device)
            return self.train_images[indices], self.train_labels[indices]
        size = (self.train_images.shape[2], self.train_images.shape[3])
        check_padding(crop_padding, size)
        places = crop_places(
            size,
            padding=crop_padding,
            mirror=mirror,
            seed=seed,
            iteration=iteration,
            taken=rows,
            batch_size=batch_size,
        )
        # In one copy to the device.
        drawn = sent(torch.cat([indices[:, None], torch.from_numpy(places)], dim=1), device)
        indices = drawn[:, 0]
        return cropped(self.train_images[indices], drawn[:, 1:]), self.train_labels[indices]

    def test_batches(self, batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See `DataSet`."""
        yield from zip(
            torch.split(self.test_images, batch_size), torch.split(self.test_labels, batch_size), strict=True
        )

    def some_test_batches(self, batch_size: int, numbers: range) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See `DataSet`."""
        for first in range(numbers.start * batch_size, numbers.stop * batch_size, batch_size):
            rows = slice(first, first + batch_size)
            yield self.test_images[rows], self.test_labels[rows]
