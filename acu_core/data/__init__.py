"""Data sets as tensors, their preprocessing, and the batches and augmentation that training draws from them."""

from __future__ import annotations

from acu_core.data.augmentation import random_crop_and_mirror
from acu_core.data.batches import batch_indices
from acu_core.data.cifar10 import cifar10_data, find_cifar10
from acu_core.data.contrast import global_contrast_normalize
from acu_core.data.data_set import DataSet
from acu_core.data.in_memory import InMemoryData
from acu_core.data.loading import NAMES, load_data_set
from acu_core.data.planted import hidden_positions, planted_data
from acu_core.data.statistics_cache import cached_whitening, default_cache
from acu_core.data.whitening import Whitening, apply_zca, fit_zca

__all__ = [
    "NAMES",
    "DataSet",
    "InMemoryData",
    "Whitening",
    "apply_zca",
    "batch_indices",
    "cached_whitening",
    "cifar10_data",
    "default_cache",
    "find_cifar10",
    "fit_zca",
    "global_contrast_normalize",
    "hidden_positions",
    "load_data_set",
    "planted_data",
    "random_crop_and_mirror",
]
