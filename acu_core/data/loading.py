"""Data sets by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acu_core.data import image_files
from acu_core.data.cifar import CIFAR10, CIFAR100, cifar_data
from acu_core.data.data_set import DataSet
from acu_core.data.image_files import Preprocessing
from acu_core.data.image_folder import image_folder_data
from acu_core.data.places365 import places365_data
from acu_core.data.planted import planted_data
from acu_core.errors import UserError

_CIFAR = {cifar.name: cifar for cifar in (CIFAR10, CIFAR100)}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "planted": ("train_count", "test_count"),
    "cifar10": (),
    "cifar100": (),
    "imagefolder": image_files.OPTIONS,
    "places365": (*image_files.OPTIONS, "large"),
}
NAMES = tuple(_OPTIONS)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises `UserError` unless there is a data set `name` and it has these options."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"there is no data set called {name!r}{hint}; the known ones are {', '.join(NAMES)}.")
    unknown = sorted(set(options) - set(_OPTIONS[name]))
    if unknown:
        known = ", ".join(_OPTIONS[name]) or "none"
        raise UserError(f"the data set {name!r} has no option {', '.join(unknown)}; its options are: {known}.")
    if name in ("imagefolder", "places365"):
        Preprocessing.from_options(**{key: value for key, value in options.items() if key != "large"})


def load_data_set(
    name: str,
    *,
    path: Path | None = None,
    download: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    workers: int = 0,
    **options: Any,
) -> DataSet:
    """The data set called `name`, on the CPU.

    - "planted": made from `seed`; options `train_count` and `test_count`. `path`, `download` and `cache` do not matter.
    - "cifar10", "cifar100": read from `path` (see `find_cifar`), downloaded first if `download` allows it and nothing
      is there; the statistics are kept in `cache` (default `$XDG_CACHE_HOME/acu` or `~/.cache/acu`).
    - "imagefolder", "places365": files under `path`, decoded by `workers` processes (0: automatic) while they are
      needed; options of `Preprocessing.from_options`, and `large` for the large images of Places365.

    Raises `UserError` for an unknown name or option, and for data that is missing or damaged.
    """
    check_options(name, options)
    if name == "planted":
        return planted_data(seed=seed, **options)
    if name in _CIFAR:
        return cifar_data(_CIFAR[name], path=path, download=download, cache=cache)
    large = options.pop("large", False)
    preprocessing = Preprocessing.from_options(**options)
    if name == "places365":
        return places365_data(path=path, download=download, large=large, workers=workers, preprocessing=preprocessing)
    return image_folder_data(path=path, workers=workers, preprocessing=preprocessing)
