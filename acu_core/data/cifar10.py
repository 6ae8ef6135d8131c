"""CIFAR-10, found on disk and preprocessed as the paper's authors did."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acu_core.data import torchvision_source
from acu_core.data.contrast import global_contrast_normalize
from acu_core.data.data_set import sha256_of
from acu_core.data.in_memory import InMemoryData
from acu_core.data.raw_images import RawImages, read_npz
from acu_core.data.statistics_cache import cached_whitening, hash_of
from acu_core.data.whitening import apply_zca, fit_zca
from acu_core.errors import UserError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SCALE = 55.0
BIAS = 0.1

_HOW_TO_GET_IT = (
    "allow the download, or name an .npz file with MedMNIST's keys or a torchvision folder that holds "
    f"{torchvision_source.FOLDER}, by --data or in the environment variable ACU_DATA"
)


def cifar10_data(*, path: Path | None = None, download: bool = False, cache: Path | None = None) -> InMemoryData:
    """Images (N, 3, 32, 32) float32 after global contrast normalisation and ZCA whitening; labels (N,) in 0..9.

    `path` is an `.npz` file or a torchvision folder, see `find_cifar10`. The statistics come from the training images
    alone, and are kept in `cache` under the hash of those images, whichever file they were read from. An `.npz` file
    may hold fewer or smaller images than CIFAR-10 has: that is how tests train in seconds.

    Raises `UserError` when the data is missing or damaged.
    """
    found = find_cifar10(path, download=download)
    if found.is_dir():
        raw = torchvision_source.read_cifar10(found, download=download)
    else:
        raw = read_npz(found, classes=len(CLASS_NAMES))
    return _preprocessed(raw, cache)


def find_cifar10(path: Path | None = None, *, download: bool = False) -> Path:
    """The file or folder that `cifar10_data` reads: `path`, else the environment variable `ACU_DATA`, else `./data`.

    A folder is torchvision's root (or its `cifar-10-batches-py` itself), or holds a `cifar10.npz`. With `download` a
    folder that has neither, or does not exist yet, is where the data will be put.

    Raises `UserError`, saying what was looked for and how to get it, when there is nothing.
    """
    named = os.environ.get("ACU_DATA")
    if path is not None:
        place, origin = Path(path), "as asked for"
    elif named:
        place, origin = Path(named), "as ACU_DATA says"
    else:
        place, origin = Path("data"), "the default"
    place = place.expanduser()
    if place.is_file():
        return place
    if place.name == torchvision_source.FOLDER and place.is_dir():
        return place.parent
    if (place / torchvision_source.FOLDER).is_dir():
        return place
    if (place / "cifar10.npz").is_file():
        return place / "cifar10.npz"
    if download and place.suffix != ".npz":
        # torchvision wants a folder that exists; made here, so that the caller can tell a folder from a file.
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {place} for CIFAR-10 cannot be made ({error}); name another.") from error
        return place
    if place.exists():
        raise UserError(f"no CIFAR-10 in the folder {place} ({origin}); {_HOW_TO_GET_IT}.")
    raise UserError(f"no CIFAR-10: {place} ({origin}) does not exist; {_HOW_TO_GET_IT}.")


def _preprocessed(raw: RawImages, cache: Path | None) -> InMemoryData:
    train_images, test_images = _normalized(raw.train_images), _normalized(raw.test_images)
    whitening = cached_whitening(
        f"gcn {SCALE} zca {BIAS} of {sha256_of([raw.train_images])}",
        train_images[0].numel(),
        lambda: fit_zca(train_images, BIAS),
        cache,
    )
    return InMemoryData(
        name="cifar10",
        train_images=apply_zca(train_images, whitening),
        train_labels=torch.from_numpy(raw.train_labels),
        test_images=apply_zca(test_images, whitening),
        test_labels=torch.from_numpy(raw.test_labels),
        class_names=CLASS_NAMES,
        fingerprint={"data": raw.sha256(), "statistics": hash_of(whitening)},
        source=raw.source,
    )


def _normalized(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    # (C, H, W) is the order that the authors whitened in; the values do not depend on it, the cached matrix does.
    return global_contrast_normalize(torch.from_numpy(images).permute(0, 3, 1, 2), SCALE)
