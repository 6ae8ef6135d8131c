"""Data sets, their preprocessing, and the batches and augmentation that training draws from them.

Names are imported when they are first used: the processes that decode images import a module of this package, and
would wait seconds for PyTorch, which they do not need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acu_core.data.augmentation import random_crop_and_mirror
    from acu_core.data.batches import batch_indices
    from acu_core.data.cifar import CIFAR10, CIFAR100, Cifar, cifar_data, find_cifar
    from acu_core.data.contrast import global_contrast_normalize
    from acu_core.data.data_set import DataSet
    from acu_core.data.data_source import DataSource
    from acu_core.data.decoder_pool import UnreadableImageError
    from acu_core.data.image_files import ImageFiles
    from acu_core.data.image_folder import image_folder_data
    from acu_core.data.in_memory import InMemoryData
    from acu_core.data.loading import load_data_set
    from acu_core.data.places365 import places365_data
    from acu_core.data.planted import hidden_positions, planted_data
    from acu_core.data.randomness import network_seed
    from acu_core.data.statistics_cache import cached_whitening, default_cache
    from acu_core.data.whitening import Whitening, apply_zca, fit_zca

_MODULES = {
    "augmentation": ("random_crop_and_mirror",),
    "batches": ("batch_indices",),
    "cifar": ("CIFAR10", "CIFAR100", "Cifar", "cifar_data", "find_cifar"),
    "contrast": ("global_contrast_normalize",),
    "data_set": ("DataSet",),
    "data_source": ("DataSource",),
    "decoder_pool": ("UnreadableImageError",),
    "image_files": ("ImageFiles",),
    "image_folder": ("image_folder_data",),
    "in_memory": ("InMemoryData",),
    "loading": ("load_data_set",),
    "places365": ("places365_data",),
    "planted": ("hidden_positions", "planted_data"),
    "randomness": ("network_seed",),
    "statistics_cache": ("cached_whitening", "default_cache"),
    "whitening": ("Whitening", "apply_zca", "fit_zca"),
}

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Cifar",
    "DataSet",
    "DataSource",
    "ImageFiles",
    "InMemoryData",
    "UnreadableImageError",
    "Whitening",
    "apply_zca",
    "batch_indices",
    "cached_whitening",
    "cifar_data",
    "default_cache",
    "find_cifar",
    "fit_zca",
    "global_contrast_normalize",
    "hidden_positions",
    "image_folder_data",
    "load_data_set",
    "network_seed",
    "places365_data",
    "planted_data",
    "random_crop_and_mirror",
]


def __getattr__(name: str) -> Any:
    """Imports the module of `name`."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
