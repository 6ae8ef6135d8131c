"""Whitening statistics on disk, so that they are computed once for a training set and not once for a run."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from acu_core.data.whitening import Whitening
from acu_core.durable import write_durably

_VERSION = 1  # raise it when the statistics are computed differently


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/acu`, or `~/.cache/acu`."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says that a relative path there is to be ignored.
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "acu"


def cached_whitening(key: str, size: int, compute: Callable[[], Whitening], cache: Path | None = None) -> Whitening:
    """The statistics stored under `key`, or those of `compute`, which are then stored.

    `key` must say everything that the statistics depend on; `size` is their D. A file that is damaged, cut short
    or of another size is computed anew and replaced. The file appears by renaming, so two processes never see half of
    one. A cache that cannot be written costs time only: the statistics are returned all the same.
    """
    digest = hashlib.sha256(f"{_VERSION} {key}".encode()).hexdigest()
    file = (cache or default_cache()) / f"zca-{digest}.npz"
    stored = _read(file, size)
    if stored is not None:
        return stored
    whitening = compute()
    with contextlib.suppress(OSError):
        _write(file, whitening)
    return whitening


def hash_of(whitening: Whitening) -> str:
    """The SHA-256 of the statistics."""
    digest = hashlib.sha256()
    for tensor in (whitening.mean, whitening.matrix):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()


def _read(file: Path, size: int) -> Whitening | None:
    try:
        # Opened here, since np.load leaves a damaged file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            mean, matrix, stored_hash = arrays["mean"], arrays["matrix"], str(arrays["sha256"])
    # Damage shows as almost anything: OSError, KeyError, BadZipFile, EOFError, zlib.error, ValueError, ...
    except Exception:
        return None
    if mean.dtype != np.float32 or matrix.dtype != np.float32 or mean.shape != (size,) or matrix.shape != (size, size):
        return None
    whitening = Whitening(torch.from_numpy(mean), torch.from_numpy(matrix))
    return whitening if hash_of(whitening) == stored_hash else None


def _write(file: Path, whitening: Whitening) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"mean": whitening.mean.numpy(), "matrix": whitening.matrix.numpy()}
    stored_hash = np.array(hash_of(whitening))
    write_durably(file, lambda stream: np.savez(stream, sha256=stored_hash, **arrays))  # type: ignore[arg-type]
