"""Any data set in the layout of torchvision's ImageFolder: a folder for each class."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from acu_core.data.class_places import ClassPlaces
from acu_core.data.data_source import DataSource
from acu_core.data.image_files import FileList, ImageFiles, Preprocessing
from acu_core.data.location import data_place
from acu_core.errors import Action, Remedy, UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = "an image folder holds train/<class>/ and val/<class>/ with the images of each class"


def image_folder_data(
    *, path: Path | None = None, workers: int = 0, preprocessing: Preprocessing | None = None
) -> ImageFiles:
    """Images (B, 3, size, size) of `path`/train and, to test, `path`/val, with a folder for each class in both.

    The classes are the folders' names in order, as torchvision numbers them; folders within them are searched too.
    Raises `UserError`, saying what was looked for and where, when a part, a class or the images of one are missing.
    """
    place, origin = data_place(path)
    for part in (place, place / "train", place / "val"):
        if not part.is_dir():
            problem = "is not a folder" if part.exists() else "is not there"
            raise UserError(
                f"no image folder at {place} ({origin}): {part} {problem}; {_LAYOUT}",
                Remedy(Action.NAME_DATA, "imagefolder"),
            )
    root = str(place.resolve())
    classes = _classes(os.path.join(root, "train"))
    others = _classes(os.path.join(root, "val"))
    if classes != others:
        different = sorted(set(classes) ^ set(others))
        raise UserError(
            f"{place}/train and {place}/val must have the same class folders, but only one of them has "
            f"{', '.join(different[:5])}{' and others' if len(different) > 5 else ''}."
        )
    places = ClassPlaces(root, ("train", "val"), classes)
    train, test = (_files(os.path.join(root, part), classes, places) for part in ("train", "val"))
    return ImageFiles(
        "imagefolder",
        tuple(classes),
        train,
        test,
        preprocessing or Preprocessing(),
        root=root,
        workers=workers,
    )


def load_image_folder(source: DataSource, **options: Any) -> ImageFiles:
    """`image_folder_data` as a recipe asks for it; the options are those of `Preprocessing.of`."""
    return image_folder_data(path=source.path, workers=source.workers, preprocessing=Preprocessing.of(**options))


def _classes(folder: str) -> list[str]:
    # Hidden folders are what editors and file managers leave behind.
    with os.scandir(folder) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise UserError(f"{folder} has {len(classes)} class folders, at least 2 are needed; {_LAYOUT}.")
    return classes


def _files(folder: str, classes: list[str], places: ClassPlaces) -> FileList:
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        before = len(paths)
        paths += (path for path in places.walk(os.path.join(folder, name), name) if path.lower().endswith(EXTENSIONS))
        if len(paths) == before:
            endings = ", ".join(EXTENSIONS)
            raise UserError(f"{os.path.join(folder, name)} holds no image (a file that ends in {endings}).")
        labels += [label] * (len(paths) - before)
    sizes = [_size(path) for path in paths]
    return FileList(paths, np.array(labels, dtype=np.int64), np.array(sizes, dtype=np.int64))


def _size(path: str) -> int:
    """Bytes of an image file. Raises `UserError` when it is not there or is no file, such as a pipe."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): put a whole copy in its place or delete it."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is not a file: put an image in its place or delete it.")
    return found.st_size
