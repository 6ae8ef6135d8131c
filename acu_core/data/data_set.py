"""What every data set is here: preprocessed tensors, the names of the classes, and hashes that identify both."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Images and labels of one classification task, ready for a network.

    Shapes: `train_images` (N, C, H, W) and `test_images` (M, C, H, W), float32 and already preprocessed;
    `train_labels` (N,) and `test_labels` (M,), int64; `hidden_positions` (1, K, 2) in (y, x) pixels for the planted
    data, whose true shape is known, else None (it stays on the CPU: it is for reports and pictures).

    `fingerprint` holds SHA-256 hashes by name ("data" of the raw images and labels; "statistics" of what they were
    preprocessed with, where that was computed). `source` says where the data came from: a path, or "generated".
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
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """The number of input channels."""
        return self.train_images.shape[1]

    def to(self, device: torch.device | str) -> DataSet:
        """The same data set with its images and labels on `device`, each as one tensor."""
        return dataclasses.replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
        )


def sha256_of(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """The hash of the arrays' dtypes, shapes and values, in this order, whatever file they came from."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
