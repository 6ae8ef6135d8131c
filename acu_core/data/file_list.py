"""The files of a data set, kept compactly: millions of names are one text, and not as many objects."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from array import array
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

Int64 = np.ndarray[Any, np.dtype[np.int64]]

ABSENT = -1
"""The size of a file that could not be found when it was listed."""
NO_FILE = "it is not a file"


class FileNames(Sequence[str]):
    """Full paths below `root`: the names after it as one UTF-8 `text`, and where each of them ends."""

    def __init__(self, root: str, text: bytes, ends: Int64) -> None:
        self.root = root
        self.text = text
        self.ends = ends

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self.root + _decoded(self._name(number))

    def _name(self, number: int) -> bytes:
        return self.text[int(self.ends[number - 1]) if number else 0 : int(self.ends[number])]

    def names(self) -> list[bytes]:
        """The names after `root`, encoded."""
        ends = self.ends.tolist()
        return [self.text[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def part(self, numbers: Int64) -> FileNames:
        """The paths of these numbers, in their order."""
        names = [self._name(number) for number in numbers.tolist()]
        return FileNames(self.root, b"".join(names), np.cumsum([len(name) for name in names], dtype=np.int64))


@dataclasses.dataclass(frozen=True)
class FileList:
    """The files of one part of a data set: full paths, labels (N,), and sizes in bytes (N,), `ABSENT` where unknown."""

    paths: FileNames
    labels: Int64
    sizes: Int64

    def part(self, numbers: Int64) -> FileList:
        """The files of these numbers, in their order."""
        return FileList(self.paths.part(numbers), self.labels[numbers], self.sizes[numbers])


class FileListBuilder:
    """Collects a `FileList` file by file."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._text = bytearray()
        self._ends, self._labels, self._sizes = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, path: str, label: int, size: int) -> None:
        """`path` is full, below the root."""
        self._text += path.removeprefix(self._root).encode(errors="surrogateescape")
        self._ends.append(len(self._text))
        self._labels.append(label)
        self._sizes.append(size)

    def result(self) -> FileList:
        """What was added, in that order."""
        ends, labels, sizes = (np.array(numbers, dtype=np.int64) for numbers in (self._ends, self._labels, self._sizes))
        return FileList(FileNames(self._root, bytes(self._text), ends), labels, sizes)


def size_of_file(path: str) -> tuple[int, str | None]:
    """Bytes and None, or `ABSENT` and why: what the system says, or `NO_FILE` for a folder or a pipe."""
    try:
        found = os.stat(path)
    except OSError as error:
        return ABSENT, error.strerror or type(error).__name__
    return (found.st_size, None) if stat.S_ISREG(found.st_mode) else (ABSENT, NO_FILE)


def hash_of_names(class_names: Sequence[str], *parts: FileList) -> str:
    """The SHA-256 of classes, and of each file's name, label and size.

    The names are those after the root, so that a moved data set is still the same.
    """
    digest = hashlib.sha256("\0".join(class_names).encode())
    for part in parts:
        digest.update(f"\n{len(part.paths)}\n".encode())
        for name, label, size in zip(part.paths.names(), part.labels.tolist(), part.sizes.tolist(), strict=True):
            digest.update(b"%b\0%d\0%d\n" % (name, label, size))
    return digest.hexdigest()


def _decoded(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
