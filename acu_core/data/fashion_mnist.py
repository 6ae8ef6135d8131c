"""Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017), as its authors, Debian and torchvision store it: four idx files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acu_core.data import torchvision_source
from acu_core.data.data_set import sha256_of
from acu_core.data.data_source import DataSource
from acu_core.data.held_out import hash_of_numbers, held_out_numbers
from acu_core.data.in_memory import InMemoryData
from acu_core.data.location import data_place
from acu_core.errors import Action, Remedy, UserError

NAME = "fashion-mnist"
TITLE = "Fashion-MNIST"
CLASS_NAMES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
PARTS = {"train": "train", "test": "t10k"}
# Where the files lie in a folder that is named: torchvision's root is one of them.
_FOLDERS = ("", NAME, "FashionMNIST/raw", "raw")
# Of Debian's package dataset-fashion-mnist.
_OF_THE_SYSTEM = Path("/usr/share/datasets/fashion-mnist")
_UNSIGNED_BYTES = 8

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def fashion_mnist_data(
    *, path: Path | None = None, download: bool = False, validation_images: int = 0, seed: int = 0
) -> InMemoryData:
    """Images (N, 1, 28, 28) float32, less the mean of the training images' pixels, over their deviation; labels (N,).

    `path` is a folder with the four idx files, gzipped or not, or torchvision's root; see `find_fashion_mnist`. Files
    may hold fewer or smaller images: that is how tests train in seconds. Of `validation_images` that are held out of
    the training images, by `seed`, mean and deviation know as little as of the test images.

    Raises `UserError` when the data is missing or damaged.
    """
    folder = find_fashion_mnist(path, download=download)
    arrays = {part: _read_part(folder, prefix) for part, prefix in PARTS.items()}
    if arrays["train"][0].shape[1:] != arrays["test"][0].shape[1:]:
        raise UserError(f"{folder}: training and test images must have one size")
    (images, labels), (test_images, test_labels) = arrays["train"], arrays["test"]
    fingerprint = {"data": sha256_of((images, labels, test_images, test_labels))}
    kept, held_out = np.arange(len(images)), None
    if validation_images:
        kept, held_out = held_out_numbers(len(images), validation_images, seed)
        fingerprint["validation"] = hash_of_numbers(held_out)
    mean, deviation = float(images[kept].mean()), float(images[kept].std())
    if deviation == 0:
        raise UserError(f"{folder}: all training images are of one grey")

    def standardized(some: Bytes) -> Tensor:
        # A copy, for what is read may not be written to.
        return torch.from_numpy(some.astype(np.float32)).unsqueeze(1).sub_(mean).div_(deviation)

    validation: dict[str, Any] = {}
    if held_out is not None:
        validation["validation_images"] = standardized(images[held_out])
        validation["validation_labels"] = torch.from_numpy(labels[held_out].astype(np.int64))
    return InMemoryData(
        name=NAME,
        train_images=standardized(images[kept]),
        train_labels=torch.from_numpy(labels[kept].astype(np.int64)),
        test_images=standardized(test_images),
        test_labels=torch.from_numpy(test_labels.astype(np.int64)),
        class_names=CLASS_NAMES,
        fingerprint=fingerprint,
        source=str(folder.resolve()),
        **validation,
    )


def load_fashion_mnist(source: DataSource) -> InMemoryData:
    """`fashion_mnist_data` as a recipe asks for it."""
    return fashion_mnist_data(
        path=source.path,
        download=source.download,
        validation_images=source.validation_images,
        seed=source.seed,
    )


def find_fashion_mnist(path: Path | None = None, *, download: bool = False) -> Path:
    """The folder of the four files: `path` or what lies in it, else `ACU_DATA`, `./data`, Debian's own place.

    With `download`, torchvision fetches them into the folder where they are missing. Raises `UserError`, saying what
    was looked for and how to get it, when there is nothing.
    """
    place, origin = data_place(path)
    found = _folder_in(place)
    if found is None and path is None:
        found = _folder_in(_OF_THE_SYSTEM)
    if found is not None:
        return found
    if download and not place.is_file():
        torchvision_source.download_fashion_mnist(place)
        found = _folder_in(place)
        if found is not None:
            return found
    problem = "is no folder that has it" if place.exists() else "does not exist"
    raise UserError(
        f"no {TITLE}: {place} ({origin}) {problem}; it is read from a folder with train-images-idx3-ubyte and its "
        "three companions, gzipped or not (Debian's package dataset-fashion-mnist has them), or from torchvision's",
        Remedy(Action.DOWNLOAD, NAME),
    )


def _folder_in(place: Path) -> Path | None:
    for name in _FOLDERS:
        folder = place / name
        if any((folder / f"train-images-idx3-ubyte{ending}").is_file() for ending in ("", ".gz")):
            return folder
    return None


def _read_part(folder: Path, prefix: str) -> tuple[Bytes, Bytes]:
    images = _read_idx(folder, f"{prefix}-images-idx3-ubyte", axes=3)
    labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte", axes=1)
    if len(images) != len(labels):
        raise UserError(f"{folder}: {len(images)} {prefix} images, but {len(labels)} labels")
    if labels.max() >= len(CLASS_NAMES):
        raise UserError(f"{folder}: {prefix} labels must lie in 0 to {len(CLASS_NAMES) - 1}, one is {labels.max()}")
    return images, labels


def _read_idx(folder: Path, name: str, *, axes: int) -> Bytes:
    """An idx file of bytes: two zeros, the type, the number of axes, each axis as 4 bytes, then the elements."""
    plain, packed = folder / name, folder / f"{name}.gz"
    file = plain if plain.is_file() else packed
    try:
        content = plain.read_bytes() if file == plain else gzip.decompress(packed.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{folder} lacks {name} (or {name}.gz): put all four files of {TITLE} there") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({error}): fetch it again") from error
    begin = 4 + 4 * axes
    if len(content) < begin or content[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
        raise UserError(f"{file} is no idx file of bytes with {axes} axes: fetch it again")
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes))
    if math.prod(shape) != len(content) - begin or not all(shape):
        raise UserError(
            f"{file} is damaged: {' x '.join(map(str, shape))} bytes are announced, {len(content) - begin} follow"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(shape)
