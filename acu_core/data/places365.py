"""Places365-Standard in the layout that torchvision gives it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acu_core.data import torchvision_source
from acu_core.data.data_source import DataSource
from acu_core.data.file_list import NO_FILE, FileList, FileListBuilder, size_of_file
from acu_core.data.file_list_cache import ListedFiles, cached_list
from acu_core.data.image_files import ImageFiles, Preprocessing
from acu_core.data.listing_progress import ListingProgress
from acu_core.data.location import data_place
from acu_core.errors import Action, Remedy, UserError

CATEGORIES = "categories_places365.txt"
LISTS = {"train": "places365_train_standard.txt", "val": "places365_val.txt"}
FOLDERS = {
    False: {"train": "data_256_standard", "val": "val_256"},
    True: {"train": "data_large_standard", "val": "val_large"},
}
_PAGE = "http://places2.csail.mit.edu/download.html"


def places365_data(
    *,
    path: Path | None = None,
    download: bool = False,
    large: bool = False,
    workers: int = 0,
    preprocessing: Preprocessing | None = None,
    skip_broken: bool = False,
    cache: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> ImageFiles:
    """Images (B, 3, size, size) of the standard training set and, to test, of the validation set.

    `path` holds categories_places365.txt, places365_train_standard.txt, places365_val.txt and the folders
    data_256_standard and val_256, or with `large` data_large_standard and val_large. Any number of categories and
    images will do. The list of files is kept in `cache` (see `cached_list`), and `note` is told of one that takes long
    to make. With `download` torchvision fetches what is missing of the small images, 25 GB.

    Raises `UserError`, saying what was looked for, where, and how to get it, when anything is missing or damaged.
    """
    place, origin = data_place(path)
    missing = _missing(place, large)
    if missing and download and not large:
        torchvision_source.download_places365(place)
        missing = _missing(place, large)
    if missing:
        other = ""
        if not _missing(place, not large):
            other = f"; the other size is there: set data.options.large={'false' if large else 'true'}"
        raise UserError(
            f"no Places365 at {place} ({origin}): {', '.join(missing)} not there{other}; unpack the files of {_PAGE} "
            "as torchvision names them (a download gets the small images, 25 GB)",
            Remedy(Action.DOWNLOAD, "places365"),
        )
    root = str(place.resolve())
    progress = ListingProgress(root, note)
    files = cached_list(
        f"places365 {'large' if large else 'small'}",
        root,
        lambda watched: _listed(root, large, watched, progress, skip_broken),
        cache=cache,
    )
    return ImageFiles(
        "places365", files, preprocessing or Preprocessing(), root=root, workers=workers, skip_broken=skip_broken
    )


def load_places365(source: DataSource, *, large: bool, skip_broken: bool = False, **options: Any) -> ImageFiles:
    """`places365_data` as a recipe asks for it; the other options are those of `Preprocessing.of`."""
    return places365_data(
        path=source.path,
        download=source.download,
        large=large,
        workers=source.workers,
        preprocessing=Preprocessing.of(**options),
        skip_broken=skip_broken,
        cache=source.cache,
        note=source.note,
    )


def _listed(root: str, large: bool, watched: list[str], progress: ListingProgress, skip_broken: bool) -> ListedFiles:
    categories = os.path.join(root, CATEGORIES)
    class_names = _categories(categories)
    watched.append(categories)
    parts = {}
    for part, name in LISTS.items():
        file, folder = os.path.join(root, name), os.path.join(root, FOLDERS[large][part])
        watched.append(file)
        parts[part] = _files(root, file, folder, len(class_names), progress, skip_broken)
        watched += _folders(parts[part])
    return ListedFiles.of(class_names, parts["train"], parts["val"])


def _folders(files: FileList) -> list[str]:
    """Those that a listed file lies in."""
    names = {os.path.dirname(name) for name in files.paths.names()}
    return sorted(files.paths.root + name.decode(errors="surrogateescape") for name in names)


def _missing(place: Path, large: bool) -> list[str]:
    names = [CATEGORIES, *LISTS.values(), *FOLDERS[large].values()]
    return [name for name in names if not (place / name).exists()]


def _categories(file: str) -> tuple[str, ...]:
    entries = _entries(file)
    by_label = {label: name.lstrip("/") for name, label in entries}
    if len(entries) < 2 or sorted(by_label) != list(range(len(entries))):
        raise UserError(f"{file} must number its categories from 0 on, one a line; get it again from {_PAGE}.")
    return tuple(by_label[label] for label in range(len(by_label)))


def _files(root: str, file: str, folder: str, classes: int, progress: ListingProgress, skip_broken: bool) -> FileList:
    entries = _entries(file)
    if not entries:
        raise UserError(f"{file} lists no image; get it again from {_PAGE}.")
    files = FileListBuilder(root)
    for name, label in entries:
        if not 0 <= label < classes:
            raise UserError(f"{file} gives {name} the category {label}, but there are {classes}, from 0 on.")
        # The training list's names begin with a slash.
        path = os.path.join(folder, name.lstrip("/"))
        size, problem = size_of_file(path)
        if problem is not None and not skip_broken:
            if problem == NO_FILE:
                raise UserError(f"{path}, which {file} lists, is not a file: unpack the images of {_PAGE} again.")
            raise UserError(
                f"{path} is not there ({problem}), but {file} lists it: unpack the images of {_PAGE} again."
            )
        files.add(path, label, size)
        progress.count()
    return files.result()


def _entries(file: str) -> list[tuple[str, int]]:
    """The lines "name number" of a list."""
    entries = []
    try:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                name, _, label = line.strip().rpartition(" ")
                if not name or not label.isdecimal():
                    raise UserError(f"{file}, line {number}: expected a name and a number, got {line.strip()[:80]!r}.")
                entries.append((name, int(label)))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}); get it again from {_PAGE}.") from error
    return entries
