"""Any data set in the layout of torchvision's ImageFolder: a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acu_core.data.class_places import ClassPlaces
from acu_core.data.data_source import DataSource
from acu_core.data.file_list import NO_FILE, FileList, FileListBuilder, size_of_file
from acu_core.data.file_list_cache import ListedFiles, cached_list
from acu_core.data.image_files import ImageFiles, Preprocessing
from acu_core.data.listing_progress import ListingProgress
from acu_core.data.location import data_place
from acu_core.errors import Action, Remedy, UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LAYOUT = "an image folder holds train/<class>/ and val/<class>/ with the images of each class"


def image_folder_data(
    *,
    path: Path | None = None,
    workers: int = 0,
    preprocessing: Preprocessing | None = None,
    skip_broken: bool = False,
    cache: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> ImageFiles:
    """Images (B, 3, size, size) of `path`/train and, to test, of `path`/val, with a folder for each class in both.

    The classes are the folders' names in order, as torchvision numbers them; folders within them are searched too.
    A long list of files is kept in `cache` (see `cached_list`), and `note` is told of one that takes long to make.
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
    progress = ListingProgress(root, note)
    files = cached_list("imagefolder", root, lambda watched: _listed(root, watched, progress, skip_broken), cache=cache)
    return ImageFiles(
        "imagefolder", files, preprocessing or Preprocessing(), root=root, workers=workers, skip_broken=skip_broken
    )


def load_image_folder(source: DataSource, *, skip_broken: bool = False, **options: Any) -> ImageFiles:
    """`image_folder_data` as a recipe asks for it; the other options are those of `Preprocessing.of`."""
    return image_folder_data(
        path=source.path,
        workers=source.workers,
        preprocessing=Preprocessing.of(**options),
        skip_broken=skip_broken,
        cache=source.cache,
        note=source.note,
    )


def _listed(root: str, watched: list[str], progress: ListingProgress, skip_broken: bool) -> ListedFiles:
    folders = [os.path.join(root, part) for part in ("train", "val")]
    classes, others = (_classes(folder) for folder in folders)
    if classes != others:
        different = sorted(set(classes) ^ set(others))
        raise UserError(
            f"{folders[0]} and {folders[1]} must have the same class folders, but only one of them has "
            f"{', '.join(different[:5])}{' and others' if len(different) > 5 else ''}."
        )
    places = ClassPlaces(root, ("train", "val"), classes)
    train, test = (_files(root, folder, classes, places, progress, skip_broken) for folder in folders)
    watched += [*folders, *places.walked]
    return ListedFiles.of(classes, train, test)


def _classes(folder: str) -> list[str]:
    # Hidden folders are what editors and file managers leave behind.
    with os.scandir(folder) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise UserError(f"{folder} has {len(classes)} class folders, at least 2 are needed; {_LAYOUT}.")
    return classes


def _files(
    root: str, folder: str, classes: list[str], places: ClassPlaces, progress: ListingProgress, skip_broken: bool
) -> FileList:
    files = FileListBuilder(root)
    for label, name in enumerate(classes):
        before = len(files)
        for path in places.walk(os.path.join(folder, name), name):
            if path.lower().endswith(EXTENSIONS):
                files.add(path, label, _size(path, skip_broken))
                progress.count()
        if len(files) == before:
            endings = ", ".join(EXTENSIONS)
            raise UserError(f"{os.path.join(folder, name)} holds no image (a file that ends in {endings}).")
    return files.result()


def _size(path: str, skip_broken: bool) -> int:
    """Bytes of an image file; with `skip_broken` `ABSENT` for what is none, which is then left out when it is read.

    Raises `UserError` when it is not there or is no file, such as a pipe.
    """
    size, problem = size_of_file(path)
    if problem is None or skip_broken:
        return size
    if problem == NO_FILE:
        raise UserError(f"{path} is not a file: put an image in its place or delete it.")
    raise UserError(f"{path} cannot be read ({problem}): put a whole copy in its place or delete it.")
