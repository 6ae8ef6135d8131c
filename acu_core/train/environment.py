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
from acu_core.data.decoder_pool import automatic_workers
from acu_core.data.loading import load_data_set
from acu_core.errors import UserError
from acu_core.learn.arithmetic import Arithmetic, precision_note, refuse_missing_precision
from acu_core.learn.compilation import compiles, refuse_missing_compiler
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.processor import processor_name
from acu_core.learn.step_graph import capture_note, captures
from acu_core.learn.workplace import Workplace, choose_device
from acu_core.op.library import status
from acu_core.recipe.schema import Recipe
from acu_core.runs.conditions import DATA, conditions
from acu_core.train.broken_image_log import warn_of_broken_images
from acu_core.train.events import Events
from acu_core.train.kernel_record import begin_kernels, kernel_record, resume_kernels


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


def load_recipe_data(
    recipe: Recipe,
    path: Path | None,
    download: bool,
    workers: int = 0,
    processes: Processes = ALONE,
    *,
    events: Events | None = None,
) -> DataSet:
    """The recipe's data set, from `path` where one is given; `workers` of 0 are as many as the recipe says.

    Of several processes the first of a machine begins, so that what is downloaded or computed once is there for the
    others. Raises UserError where their data are not the same.
    """
    where = path if path is not None else (Path(recipe.data.path) if recipe.data.path else None)
    options: dict[str, Any] = dict(recipe.data.options)
    workers = workers or recipe.machine.workers
    if processes.several and not workers:
        workers = max(1, automatic_workers() // processes.local_size)
    with processes.first_here():
        data = load_data_set(
            recipe.data.name,
            path=where,
            download=download,
            seed=recipe.seed,
            workers=workers,
            note=events.note if events is not None else None,
            validation_images=recipe.data.validation_images,
            **options,
        )
    if processes.several and dict(data.fingerprint) != processes.from_first(lambda: dict(data.fingerprint)):
        raise UserError(
            f"process {processes.rank} has read other data than process 0 ({data.source} here): all need the same"
        )
    if events is not None:
        warn_of_broken_images(data, events)
    return data


def _check_path(recipe: Recipe, path: Path | None) -> None:
    # Only what is asked for now: recipes of earlier runs name a path here that nobody read.
    if path is not None and recipe.data.is_made:
        name = recipe.data.name
        raise UserError(f"the data set {name} is made, not read from files, so {path} cannot be used for it")


def new_workplace(
    recipe: Recipe, *, data_path: Path | None, download: bool, events: Events, processes: Processes = ALONE
) -> Workplace:
    """Resolves device, threads and data for a new run. Raises UserError when one of them cannot be had."""
    _check_path(recipe, data_path)
    processes.check_batch(recipe.data.batch_size)
    device = choose_device(recipe.machine.device, processes)
    refuse_missing_precision(recipe, device)
    refuse_missing_compiler(recipe, device)
    for told in (precision_note(recipe, device), capture_note(recipe, device, processes)):
        if told is not None:
            events.warn(told)
    events.note(f"Loading the data set {recipe.data.name} ...")
    data = load_recipe_data(recipe, data_path, download, processes=processes, events=events)
    threads = recipe.machine.threads or processes.from_first(torch.get_num_threads)
    if device.type == "cuda":
        begin_kernels()
    return Workplace(data.to(device), device, threads, processes)


def recorded_workplace(
    recipe: Recipe,
    environment: Mapping[str, Any],
    *,
    data_path: Path | None,
    download: bool,
    device: str | None,
    events: Events,
    processes: Processes | None = None,
) -> Workplace:
    """The workplace that `environment` records, or one like it, with a warning of whatever is not the same.

    `processes` are those that train there: None where nothing is trained, and how many did so does not matter.
    Raises UserError when the data or a device that is asked for cannot be had.
    """
    _check_path(recipe, data_path)
    trained, processes = processes is not None, processes or ALONE
    processes.check_batch(recipe.data.batch_size)
    recorded = str(environment.get("device", "auto"))
    if processes.several:
        # Of one process, which had the GPU of that number.
        recorded = recorded.partition(":")[0]
    try:
        chosen = choose_device(device or recorded, processes)
    except UserError as error:
        if device:
            raise
        chosen = choose_device("auto", processes)
        events.warn(f"{error}; going on on {chosen}", *error.remedies)
    source = environment.get("data", {}).get("source")
    if data_path is None and isinstance(source, str) and source != "generated" and os.path.exists(source):
        data_path = Path(source)
    if trained and (told := capture_note(recipe, chosen, processes)) is not None:
        events.warn(told)
    events.note(f"Loading the data set {recipe.data.name} ...")
    workers = environment.get("workers")
    workers = workers if isinstance(workers, int) and workers > 0 else 0
    data = load_recipe_data(recipe, data_path, download, workers, processes, events=events)
    threads = environment.get("threads")
    if not isinstance(threads, int) or threads < 1:
        threads = recipe.machine.threads or processes.from_first(torch.get_num_threads)
    place = Workplace(data.to(chosen), chosen, threads, processes)
    if trained and chosen.type == "cuda":
        resume_kernels(environment, torch.cuda.get_device_name(chosen))
    now = describe(recipe, place)
    if not trained:
        now |= {key: environment[key] for key in ("processes", "batch_norm") if key in environment}
    changes = differences(environment, now) if has_conditions(environment) else []
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
        "processes": place.processes.size,
        # One process has the whole batch, whatever the recipe says.
        "batch_norm": recipe.network.batch_norm if place.processes.several else None,
        # Of several processes each has a GPU of its own.
        "device": place.device.type if place.processes.several else str(place.device),
        "device_name": gpu or platform.machine(),
        "memory_format": recipe.machine.memory_format,
        "compile": compiles(recipe, place.device),
        "cuda_graph": captures(recipe, place.device, place.processes),
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
            **kernel_record(place.device),
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
