"""What a data set is loaded from, beside its own options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataSource:
    """Where and how: each data set uses what concerns it."""

    name: str
    """The data set's, as a recipe gives it."""
    path: Path | None = None
    """A file or a folder; None where the data set is looked for by default."""
    download: bool = False
    """Whether it may be downloaded when it is not there."""
    seed: int = 0
    """Of data that is made."""
    cache: Path | None = None
    """Where statistics are kept; None by default: `$XDG_CACHE_HOME/acu` or `~/.cache/acu`."""
    note: Callable[[str], None] | None = None
    """Told what takes long."""
    validation_images: int = 0
    """Held out of the training images, by `seed`, before anything is computed of them.

    For loaders that compute something; of other data sets `load_data_set` holds them out.
    """
    workers: int = 0
    """Processes that decode image files; 0 is automatic."""
