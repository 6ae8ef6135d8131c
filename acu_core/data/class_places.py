"""Where the images of each class lie, so that no link gives an image two classes or counts it twice."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

from acu_core.errors import UserError


class ClassPlaces:
    """The folders `root`/<part>/<class>, and the files in them.

    Links are followed, as subsets of large data sets are often made of links; but not to the images of another class,
    to which torchvision would give both labels, and not to a folder that was read already, as a loop would be endless.
    """

    def __init__(self, root: str, parts: Sequence[str], classes: Sequence[str]) -> None:
        """Raises `UserError` where the folders of two classes are one, or one lies in the other."""
        self.walked: list[str] = []
        """The folders that were read, in order."""
        self._owners: dict[str, str] = {}
        self._above: defaultdict[str, set[str]] = defaultdict(set)
        for name in classes:
            for part in parts:
                real = os.path.realpath(os.path.join(root, part, name))
                self._owners.setdefault(real, name)
                for folder in _upwards(real):
                    self._above[folder].add(name)
        for part in parts:
            for name in classes:
                folder = os.path.join(root, part, name)
                self._refuse_other_classes(folder, os.path.realpath(folder), name)

    def walk(self, folder: str, name: str) -> Iterator[str]:
        """The paths of all files below `folder`, which is of the class `name`: those of a folder before its folders'.

        Raises `UserError` for a link that must not be followed, and for a folder that cannot be read.
        """
        return self._walk(folder, name, {})

    def _walk(self, folder: str, name: str, walked: dict[str, str]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in walked:
            raise UserError(
                f"{walked[real]} and {folder} are one folder, by a link, and its images would count more than once: "
                "delete the link"
            )
        walked[real] = folder
        self.walked.append(folder)
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
            are_folders = [os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir() for entry in entries]
        except OSError as error:
            raise UserError(f"{folder} cannot be read ({error.strerror})") from error
        for entry in entries:
            if entry.is_symlink():
                self._refuse_other_classes(entry.path, os.path.realpath(entry.path), name)
        for entry, is_folder in zip(entries, are_folders, strict=True):
            if not is_folder:
                yield entry.path
        for entry, is_folder in zip(entries, are_folders, strict=True):
            if is_folder:
                yield from self._walk(entry.path, name, walked)

    def _refuse_other_classes(self, path: str, real: str, name: str) -> None:
        inside = {self._owners[folder] for folder in _upwards(real) if folder in self._owners}
        others = sorted((inside | self._above.get(real, set())) - {name})
        if others:
            raise UserError(
                f"{path} is a link to {real}, where the images of the class {others[0]} are, so that they would be of "
                f"the class {name} too: delete the link, or put a copy in its place"
            )


def _upwards(path: str) -> Iterator[str]:
    """`path` and every folder above it."""
    yield path
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent
