"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from acu_core.data.data_set import DataSet
from acu_core.data.data_source import DataSource
from acu_core.recipe.named_table import options_table
from acu_core.recipe.registry import DATA_SETS, imported


def load_data_set(
    name: str,
    *,
    path: Path | None = None,
    download: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    workers: int = 0,
    note: Callable[[str], None] | None = None,
    validation_images: int = 0,
    **options: Any,
) -> DataSet:
    """The data set called `name`, on the CPU.

    - "planted": made from `seed`; options `train_count` and `test_count`. `path`, `download` and `cache` do not matter.
    - "cifar10", "cifar100": read from `path` (see `find_cifar`), downloaded first if `download` allows it and nothing
      is there; the statistics are kept in `cache` (default `$XDG_CACHE_HOME/acu` or `~/.cache/acu`).
    - "fashion-mnist": read from `path` (see `find_fashion_mnist`), downloaded likewise.
    - "imagefolder", "places365": files under `path`, decoded by `workers` processes (0: automatic) while they are
      needed; options of `acu_core.recipe.data_sets`, and `large` for the large images of Places365. Long lists of files
      are kept in `cache`, and `note` is told of one that takes long to make.
    - any other that was registered in `acu_core.recipe.registry.DATA_SETS`.

    `validation_images` are held out of the training images, drawn by `seed`; statistics are those of the others.

    Raises `UserError` for an unknown name or option, and for data that is missing or damaged.
    """
    table, checked = options_table(DATA_SETS, name, options)
    source = DataSource(
        name,
        path=path,
        download=download,
        seed=seed,
        cache=cache,
        workers=workers,
        note=note,
        validation_images=validation_images,
    )
    data: DataSet = imported(table.loaded_by)(source, **dict(checked))
    if validation_images and data.validation is None:
        data = data.hold_out(validation_images, seed)
    return data
