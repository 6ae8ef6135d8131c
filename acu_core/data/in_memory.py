"""Data sets small enough to lie on the device as one tensor, preprocessed once and augmented in vectorised form."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from acu_core.data.augmentation import random_crop_and_mirror
from acu_core.data.batches import batch_indices
from acu_core.data.data_set import DataSet
from acu_core.data.device_copy import sent


@dataclasses.dataclass(frozen=True)
class InMemoryData(DataSet):
    """Shapes: `train_images` (N, C, H, W) and `test_images` (M, C, H, W), float32 and already preprocessed;
    `train_labels` (N,) and `test_labels` (M,), int64. For the rest see `DataSet`.
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

    def to(self, device: torch.device | str) -> InMemoryData:
        """The same data set with its images and labels on `device`, each as one tensor."""
        return dataclasses.replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
        )

    def training_batch(
        self, iteration: int, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `DataSet`; the crop is `random_crop_and_mirror`'s."""
        indices = batch_indices(self.train_count, batch_size, seed=seed, iteration=iteration)
        indices = sent(indices, self.train_images.device)
        images = self.train_images[indices]
        if crop_padding or mirror:
            images = random_crop_and_mirror(images, padding=crop_padding, mirror=mirror, seed=seed, iteration=iteration)
        return images, self.train_labels[indices]

    def test_batches(self, batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See `DataSet`."""
        yield from zip(
            torch.split(self.test_images, batch_size), torch.split(self.test_labels, batch_size), strict=True
        )
