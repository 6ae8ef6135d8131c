"""Writes a run's network for use elsewhere, and evaluates what was written."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import nn

from acu_core.durable import write_durably
from acu_core.errors import UserError
from acu_core.export.architecture import describe_modules
from acu_core.export.comparison import Comparison, compare
from acu_core.export.form_choice import FormChoice, choose_forms, usual_batch
from acu_core.export.form_request import FormRequest
from acu_core.export.formats import format_of
from acu_core.learn.workplace import Workplace, computing
from acu_core.recipe.schema import Recipe
from acu_core.train.events import Events, NoEvents
from acu_core.train.stored_run import StoredRun


@dataclass(frozen=True)
class ExportReport:
    """What was exported. `written` is False when the comparison failed: then there is no new file at `path`."""

    run: str
    iteration: int
    path: Path
    format: str
    opset: int | None
    bytes: int
    written: bool
    comparison: Comparison | None
    forms: FormChoice


class _Refused(Exception):
    """The file is not what it should be; raised while it is written, so that it never takes its place."""


def export_run(
    run: Path,
    output: Path,
    *,
    iteration: int | Literal["best"] | None = None,
    averaged: bool = False,
    forms: FormRequest | None = None,
    batch: int | None = None,
    data_path: Path | None = None,
    download: bool = False,
    check: bool = True,
    events: Events | None = None,
) -> ExportReport:
    """Writes the network of a run's newest checkpoint, or of `iteration`, to `output`, whose suffix is the format.

    "best" is the checkpoint with the fewest errors on the images held out for validation; `averaged` exports the
    averaged weights in the network's place. `forms` are those that active layers are to have: by default the fastest
    in the format, measured on `batch` images at once (by default `usual_batch`).

    The file is evaluated on the run's test images before it takes its place: a file that differs is not kept, and what
    was at `output` stays. Everything is computed on the CPU in float32.

    Raises UserError when there is no run, checkpoint or data, the suffix is unknown, a package is missing, a form is
    not possible, or the file cannot be written there.
    """
    events = events or NoEvents()
    chosen = format_of(output)
    _check_writable(output)
    stored = StoredRun.open(run)
    recipe = stored.recipe
    checkpoint = stored.checkpoint(iteration, events)
    place = stored.workplace(data_path=data_path, download=download, device="cpu", events=events)
    with computing(place.threads):
        model = stored.network(checkpoint, place, averaged=averaged)
        size = _image_size(place)
        try:
            plain, choice = choose_forms(
                model.eval().to(memory_format=torch.contiguous_format),
                size,
                forms or FormRequest(),
                chosen,
                batch=batch or usual_batch(size),
                note=events.note,
            )
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{checkpoint.path} cannot be exported so: {error}") from error
        # Two: a batch of one would be taken for a constant.
        description = _description(plain, size, recipe, place, checkpoint.iteration, choice)
        content = chosen.encode(plain, torch.zeros(2, *size), description)
        comparison: Comparison | None = None

        def write(file: BinaryIO) -> None:
            nonlocal comparison
            file.write(content)
            file.flush()
            if check:
                written = chosen.load(Path(file.name), plain)
                comparison = compare(model, written, recipe, place, events)
                if not comparison.equal:
                    raise _Refused

        try:
            write_durably(output, write)
            kept = True
        except _Refused:
            kept = False
    return ExportReport(
        str(stored.path),
        checkpoint.iteration,
        output,
        chosen.name,
        chosen.opset,
        len(content),
        kept,
        comparison,
        choice,
    )


def _check_writable(output: Path) -> None:
    """Raises UserError before an evaluation that would take minutes for nothing."""
    if output.is_dir():
        raise UserError(f"{output} is a directory: give the name of a file")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UserError(f"{output} cannot be written: {output.parent}: {error.strerror}") from error


def _image_size(place: Workplace) -> tuple[int, ...]:
    with closing(place.data.test_batches(1)) as batches:
        return tuple(next(batches)[0].shape[1:])


def _description(
    plain: nn.Module, size: tuple[int, ...], recipe: Recipe, place: Workplace, iteration: int, choice: FormChoice
) -> dict[str, Any]:
    data = place.data
    return {
        "version": 1,
        "recipe": recipe.name,
        "network": recipe.network.name,
        "iteration": iteration,
        "input": {
            "name": "images",
            "shape": ["batch", *size],
            "dtype": "float32",
            "data": data.name,
            "fingerprint": dict(data.fingerprint),
            "preprocessing": (
                f"not part of this network: it takes images that were preprocessed as acu's data set '{data.name}' is"
            ),
        },
        "output": {
            "name": "logits",
            "shape": ["batch", data.classes],
            "dtype": "float32",
            "classes": list(data.class_names),
        },
        # Times are none of the file's: the same network in the same forms is the same file.
        "forms": dict(choice.chosen),
        "modules": describe_modules(plain),
    }
