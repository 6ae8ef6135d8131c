"""The list of a large data set's files on disk, so that it is made once and not at every start."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acu_core.data.file_list import ABSENT, FileList, FileNames, Int64, hash_of_names
from acu_core.data.statistics_cache import default_cache
from acu_core.durable import write_durably

LEAST_FILES = 20_000
"""Of a list that is kept: fewer files are looked at one by one within a moment, and then nothing can have changed."""
SAMPLE = 1000
"""Files whose sizes are compared at every start: a folder does not show that a file in it was written over."""

_VERSION = 1  # raise it when files are listed differently
# A folder that changed this short a time before it was listed may change again within the same tick of its clock.
_TICK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class ListedFiles:
    """All files of a data set, and their hash: see `hash_of_names`."""

    class_names: tuple[str, ...]
    train: FileList
    test: FileList
    names_hash: str

    @classmethod
    def of(cls, class_names: Sequence[str], train: FileList, test: FileList) -> ListedFiles:
        """With the hash that they have."""
        return cls(tuple(class_names), train, test, hash_of_names(class_names, train, test))


def cached_list(
    kind: str, root: str, make: Callable[[list[str]], ListedFiles], *, cache: Path | None = None
) -> ListedFiles:
    """The list of `root` kept from an earlier start, or that of `make`, which is then kept if it is long.

    `kind` says how files are listed. `make` gets an empty list and adds to it the folders and files that the list
    depends on: once the times of one of them have changed, the list is made anew, as it is where one of `SAMPLE` files
    has another size, and where the kept list is damaged or cut short. A file that was written over in place, and is not
    among those, goes unnoticed. Names and times are kept, no image. A cache that cannot be written costs time only.
    """
    digest = hashlib.sha256(f"{_VERSION}\0{kind}\0{root}".encode(errors="surrogateescape")).hexdigest()
    file = (cache or default_cache()) / f"files-{digest}.npz"
    kept = _read(file, root)
    if kept is not None:
        return kept
    begun = time.time_ns()
    watched: list[str] = []
    made = make(watched)
    if len(made.train.paths) + len(made.test.paths) >= LEAST_FILES and not _has_absent(made):
        with contextlib.suppress(OSError):
            stamps = _stamps(watched)
            if int(stamps[:, :2].max()) < begun - int(_TICK_SECONDS * 1e9):
                _write(file, made, watched, stamps)
    return made


def _has_absent(listed: ListedFiles) -> bool:
    return any(bool((part.sizes == ABSENT).any()) for part in (listed.train, listed.test))


def _stamps(paths: Sequence[str]) -> Int64:
    """(n, 4): what changes with a folder's entries or a file's content. Nobody can set the second back."""
    found = [os.stat(path) for path in paths]
    return np.array([(one.st_mtime_ns, one.st_ctime_ns, one.st_ino, one.st_size) for one in found], dtype=np.int64)


def _read(file: Path, root: str) -> ListedFiles | None:
    try:
        # Opened here, since np.load leaves a damaged file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored}
        if str(arrays.pop("sha256")) != _hash(arrays):
            return None
        watched = _texts(arrays["watched"], arrays["watched_lengths"])
        if not np.array_equal(_stamps([os.fsdecode(path) for path in watched]), arrays["stamps"]):
            return None
        classes = _texts(arrays["classes"], arrays["classes_lengths"])
        parts = [_part(root, arrays, part) for part in ("train", "test")]
        names_hash = str(arrays["names_hash"])
        listed = ListedFiles(tuple(os.fsdecode(name) for name in classes), parts[0], parts[1], names_hash)
        return listed if all(_sizes_hold(part) for part in parts) else None
    # Damage shows as almost anything: OSError, KeyError, BadZipFile, EOFError, zlib.error, ValueError, ...
    except Exception:
        return None


def _sizes_hold(part: FileList) -> bool:
    count = len(part.paths)
    sample = range(0, count, max(1, 2 * count // SAMPLE))
    return all(os.stat(part.paths[number]).st_size == part.sizes[number] for number in sample)


def _write(file: Path, listed: ListedFiles, watched: Sequence[str], stamps: Int64) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray[Any, Any]] = {"stamps": stamps, "names_hash": np.array(listed.names_hash)}
    for name, texts in (("watched", watched), ("classes", listed.class_names)):
        arrays |= _packed(name, [os.fsencode(text) for text in texts])
    for name, part in (("train", listed.train), ("test", listed.test)):
        arrays[name] = np.frombuffer(part.paths.text, dtype=np.uint8)
        arrays[f"{name}_lengths"] = np.diff(part.paths.ends, prepend=0).astype(np.uint32)
        arrays[f"{name}_labels"] = part.labels.astype(np.int32)
        arrays[f"{name}_sizes"] = part.sizes
    digest = np.array(_hash(arrays))
    write_durably(file, lambda stream: np.savez(stream, sha256=digest, **arrays))  # type: ignore[arg-type]


def _part(root: str, arrays: dict[str, np.ndarray[Any, Any]], name: str) -> FileList:
    ends = np.cumsum(arrays[f"{name}_lengths"], dtype=np.int64)
    names = FileNames(root, arrays[name].tobytes(), ends)
    return FileList(names, arrays[f"{name}_labels"].astype(np.int64), arrays[f"{name}_sizes"])


def _packed(name: str, texts: Sequence[bytes]) -> dict[str, np.ndarray[Any, Any]]:
    lengths = np.array([len(text) for text in texts], dtype=np.uint32)
    return {name: np.frombuffer(b"".join(texts), dtype=np.uint8), f"{name}_lengths": lengths}


def _texts(text: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> Iterator[bytes]:
    joined, start = text.tobytes(), 0
    for length in lengths.tolist():
        yield joined[start : start + length]
        start += length


def _hash(arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
