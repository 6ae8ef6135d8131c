"""What was chosen automatically for a run: resolved once, recorded, and reused when the run goes on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from acu_core.data.data_set import DataSet
from acu_core.data.loading import load_data_set
from acu_core.errors import UserError
from acu_core.learn.arithmetic import Arithmetic, precision_note, refuse_missing_precision
from acu_core.learn.compilation import compiles, refuse_missing_compiler
from acu_core.learn.processor import processor_name
from acu_core.learn.workplace import Workplace, choose_device
from acu_core.op.library import status
from acu_core.recipe.schema import Recipe
from acu_core.runs.conditions import DATA, conditions
from acu_core.train.events import Events


def storable_path(path: str | os.PathLike[str]) -> str:
    """The absolute path, as a recipe and an environment store it. Raises UserError when it is no text."""
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{absolute} is no UTF-8 text, so the run's files cannot name it: rename it, or make a link to it"
        ) from error
    return absolute


def load_recipe_data(recipe: Recipe, path: Path | None, download: bool, workers: int = 0) -> DataSet:
    """The recipe's data set, from `path` where one is given; `workers` of 0 are as many as the recipe says."""
    where = path if path is not None else (Path(recipe.data.path) if recipe.data.path else None)
    options: dict[str, Any] = dict(recipe.data.options)
    workers = workers or recipe.machine.workers
    return load_data_set(recipe.data.name, path=where, download=download, seed=recipe.seed, workers=workers, **options)


def _check_path(recipe: Recipe, path: Path | None) -> None:
    # Only what is asked for now: recipes of earlier runs name a path here that nobody read.
    if path is not None and recipe.data.is_made:
        name = recipe.data.name
        raise UserError(f"the data set {name} is made, not read from files, so {path} cannot be used for it")


def new_workplace(recipe: Recipe, *, data_path: Path | None, download: bool, events: Events) -> Workplace:
    """Resolves device, threads and data for a new run. Raises UserError when one of them cannot be had."""
    _check_path(recipe, data_path)
    device = choose_device(recipe.machine.device)
    refuse_missing_precision(recipe, device)
    refuse_missing_compiler(recipe, device)
    if (told := precision_note(recipe, device)) is not None:
        events.warn(told)
    events.note(f"Loading the data set {recipe.data.name} ...")
    data = load_recipe_data(recipe, data_path, download)
    return Workplace(data.to(device), device, recipe.machine.threads or torch.get_num_threads())


def recorded_workplace(
    recipe: Recipe,
    environment: Mapping[str, Any],
    *,
    data_path: Path | None,
    download: bool,
    device: str | None,
    events: Events,
) -> Workplace:
    """The workplace that `environment` records, or one like it, with a warning of whatever is not the same.

    Raises UserError when the data or a device that is asked for cannot be had.
    """
    _check_path(recipe, data_path)
    recorded = str(environment.get("device", "auto"))
    try:
        chosen = choose_device(device or recorded)
    except UserError as error:
        if device:
            raise
        chosen = choose_device("auto")
        events.warn(f"{error}; going on on {chosen}", *error.remedies)
    source = environment.get("data", {}).get("source")
    if data_path is None and isinstance(source, str) and source != "generated" and os.path.exists(source):
        data_path = Path(source)
    events.note(f"Loading the data set {recipe.data.name} ...")
    workers = environment.get("workers")
    data = load_recipe_data(recipe, data_path, download, workers if isinstance(workers, int) and workers > 0 else 0)
    threads = environment.get("threads")
    if not isinstance(threads, int) or threads < 1:
        threads = recipe.machine.threads or torch.get_num_threads()
    place = Workplace(data.to(chosen), chosen, threads)
    changes = differences(environment, describe(recipe, place)) if has_conditions(environment) else []
    if changes:
        events.warn(
            "these are other conditions than those the run was trained under, so bits will differ from what "
            f"they would be there: {'; '.join(changes)}"
        )
    return place


def describe(recipe: Recipe, place: Workplace) -> dict[str, Any]:
    """The content of `environment.json`."""
    operator = status()
    arithmetic = Arithmetic.of(recipe, place.device)
    gpu = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None
    source = place.data.source
    return {
        "threads": place.threads,
        "workers": place.data.workers,
        "device": str(place.device),
        "device_name": gpu or platform.machine(),
        "memory_format": recipe.machine.memory_format,
        "compile": compiles(recipe, place.device),
        "precision": arithmetic.precision,
        "arithmetic": arithmetic.describe(),
        "data": {
            "source": storable_path(source) if source != "generated" else source,
            "fingerprint": dict(place.data.fingerprint),
        },
        "operator": {
            "compiled": operator.cuda if place.device.type == "cuda" else operator.cpu and place.device.type == "cpu",
            "instruction_set": operator.instruction_set,
            "revision": operator.revision,
        },
        "processor_name": processor_name(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "versions": {
            "acu": _version("active-convolution"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda if place.device.type == "cuda" else None,
            "numpy": _version("numpy"),
        },
    }


def has_conditions(environment: Mapping[str, Any]) -> bool:
    """Whether `environment` says where the run was trained: an imported one does only once it is trained on here."""
    return "imported" not in environment or "threads" in environment


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What decides the bits and is not as it was, one phrase each."""
    old, new = conditions(before), conditions(now)
    # Hashes say nothing to the reader.
    return [
        "the data itself" if name == DATA else f"{name} was {old[name]}, is {new[name]}"
        for name in old
        if old[name] != new[name]
    ]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
