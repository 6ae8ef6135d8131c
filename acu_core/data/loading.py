"""Data sets by name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from acu_core.data.cifar10 import cifar10_data
from acu_core.data.data_set import DataSet
from acu_core.data.planted import planted_data
from acu_core.errors import UserError

NAMES = ("planted", "cifar10")
_OPTIONS = {"planted": ("train_count", "test_count"), "cifar10": ()}


def load_data_set(
    name: str,
    *,
    path: Path | None = None,
    download: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    **options: Any,
) -> DataSet:
    """The data set called `name`, preprocessed and on the CPU.

    - "planted": made from `seed`; options `train_count` and `test_count`. `path`, `download` and `cache` do not matter.
    - "cifar10": read from `path` (see `find_cifar10`), downloaded first if `download` allows it and nothing is there;
      its statistics are kept in `cache` (default `$XDG_CACHE_HOME/acu` or `~/.cache/acu`). `seed` does not matter.

    Raises `UserError` for an unknown name or option, and for data that is missing or damaged.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"there is no data set called {name!r}{hint}; the known ones are {', '.join(NAMES)}.")
    unknown = sorted(set(options) - set(_OPTIONS[name]))
    if unknown:
        known = ", ".join(_OPTIONS[name]) or "none"
        raise UserError(f"the data set {name!r} has no option {', '.join(unknown)}; its options are: {known}.")
    if name == "planted":
        return planted_data(seed=seed, **options)
    return cifar10_data(path=path, download=download, cache=cache)
