"""Images as they were stored, before any preprocessing, and the reader of `.npz` files with MedMNIST's keys."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from acu_core.data.data_set import sha256_of
from acu_core.errors import UserError

_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclasses.dataclass(frozen=True)
class RawImages:
    """`train_images` and `test_images` (N, H, W, 3) uint8, RGB; `train_labels` and `test_labels` (N,) int64."""

    train_images: np.ndarray[Any, np.dtype[np.uint8]]
    train_labels: np.ndarray[Any, np.dtype[np.int64]]
    test_images: np.ndarray[Any, np.dtype[np.uint8]]
    test_labels: np.ndarray[Any, np.dtype[np.int64]]
    source: str

    def sha256(self) -> str:
        """The hash of the four arrays."""
        return sha256_of((self.train_images, self.train_labels, self.test_images, self.test_labels))


def read_npz(file: Path, *, classes: int) -> RawImages:
    """The images and labels of a `.npz` file with MedMNIST's keys; keys beyond the four needed are ignored.

    Images are (N, H, W, 3) uint8, labels (N,) or (N, 1) of any integer type in 0..classes-1, at least one of each,
    and all images of one size.

    Raises `UserError`, naming the file and what was expected, for anything else. Pickled objects are never loaded.
    """
    arrays = _load(file)
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
            raise UserError(
                f"{file}: {part}_images must be uint8 of shape (N, H, W, 3), but it is {images.dtype} of shape "
                f"{images.shape}."
            )
        if labels.dtype.kind not in "iu" or labels.shape not in {(len(images),), (len(images), 1)}:
            raise UserError(
                f"{file}: {part}_labels must be integers of shape ({len(images)},), one for each image, but it is "
                f"{labels.dtype} of shape {labels.shape}."
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(
                f"{file}: {part}_labels must lie in 0 to {classes - 1}, but they run from {labels.min()} to "
                f"{labels.max()}."
            )
    sizes = arrays["train_images"].shape[1:], arrays["test_images"].shape[1:]
    if sizes[0] != sizes[1]:
        raise UserError(f"{file}: training and test images must have one size, but they are {sizes[0]} and {sizes[1]}.")
    return RawImages(
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"].reshape(-1).astype(np.int64),
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"].reshape(-1).astype(np.int64),
        source=str(file.resolve()),
    )


def _load(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    expected = f"expected a .npz file with the arrays {', '.join(_KEYS)}"
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is not a file; {expected}.")
    # Opened here, since np.load leaves a damaged file open.
    try:
        stream = file.open("rb")
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist; {expected}.") from error
    except OSError as error:
        raise UserError(f"{file} cannot be opened ({error.strerror}); {expected}.") from error
    with stream:
        # A file cut short or foreign raises BadZipFile, EOFError, ValueError, ..., by where it is damaged.
        try:
            loaded = np.load(stream, allow_pickle=False)
        except Exception as error:
            raise UserError(f"{file} cannot be read ({error}); {expected}.") from error
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UserError(f"{file} holds a single array; {expected}.")
        missing = [key for key in _KEYS if key not in loaded]
        if missing:
            raise UserError(f"{file} lacks {', '.join(missing)} (it has {', '.join(loaded) or 'nothing'}); {expected}.")
        try:
            return {key: loaded[key] for key in _KEYS}
        except Exception as error:
            raise UserError(f"{file} is damaged ({error}); {expected}.") from error
