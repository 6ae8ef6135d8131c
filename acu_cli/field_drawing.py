"""Draws a run's receptive field: what computes it and what draws it know nothing of each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from acu_cli import terminal
from acu_cli.drawing_progress import DrawingProgress
from acu_cli.training_progress import TrainingProgress

if TYPE_CHECKING:
    from acu_core.experiments.stored_receptive_field import StoredReceptiveFields
    from acu_core.render.field_animation import FieldReport


def draw_receptive_field(
    runs: list[Path], output: Path, *, layers: str | None, progress: DrawingProgress, **options: Any
) -> FieldReport:
    """`render_receptive_field` with the options of the command. Raises UserError for those that are not for it."""
    from acu_core.errors import UserError
    from acu_core.render.field_animation import render_receptive_field

    if len(runs) > 1:
        raise UserError(f"--view receptive-field draws one run, not {len(runs)}: draw each into a file of its own")
    if layers is not None:
        raise UserError("--view receptive-field shows all layers as one network, so leave --layers away")
    (run,) = runs

    def open_fields() -> StoredReceptiveFields:
        terminal.note("Starting PyTorch ...")
        from acu_core.experiments.stored_receptive_field import StoredReceptiveFields

        return StoredReceptiveFields.open(run, TrainingProgress())

    return render_receptive_field(
        run,
        open_fields,
        output,
        progress=progress.drawing,
        computing=progress.computing,
        warn=terminal.warning,
        **options,
    )


def radii(report: FieldReport) -> str:
    """How wide the field was, in a line."""
    return (
        f"RMS radius in pixels: {report.first_radius:.2f} at iteration {report.first_iteration:,}, "
        f"{report.last_radius:.2f} at {report.last_iteration:,}, {report.fixed_radius:.2f} on the fixed grid, "
        f"all with the weights of iteration {report.weights_iteration:,}"
    )
