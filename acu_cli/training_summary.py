"""Says what a training has learned, where it lies, and what to type next."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
from typing import TYPE_CHECKING

import typer

from acu_cli import terminal
from acu_cli.processes.commands import go_on_command
from acu_cli.shape_sketch import sketch
from acu_cli.shell_words import quoted

if TYPE_CHECKING:
    from acu_core.experiments.continuation import FinishedRun
    from acu_core.experiments.report import RoundingFigures, TrainingReport
    from acu_core.learn.evaluation import Evaluation


def conclude(report: TrainingReport, *, as_json: bool) -> None:
    """Prints the report; a run that was stopped ends the process with 128 + the signal's number, as shells expect."""
    if as_json:
        terminal.json(report.as_json())
    else:
        _print(report)
    if report.stopped_by is not None:
        if as_json:
            terminal.note(_stopped(report))
        raise typer.Exit(128 + signal.Signals[report.stopped_by].value)


def conclude_finished(run: FinishedRun, *, as_json: bool) -> None:
    """Says that there was nothing to do."""
    if as_json:
        terminal.json(run.as_json())
        return
    terminal.print(
        f"{run.recipe} was trained to iteration {run.iteration:,} before: the run is finished, nothing was changed.",
        style="bold",
    )
    found = run.as_json()
    for name, part in (
        ("test accuracy", "evaluation"),
        ("averaged weights", "averaged"),
        ("held-out accuracy", "validation"),
        ("frozen positions", "frozen"),
    ):
        if (figures := found[part]) is not None:
            errors = f"{figures['errors']:,} errors in {figures['images']:,} images"
            _line(name, f"{100 * figures['accuracy']:.2f} % ({errors})")
    if run.best_iteration is not None:
        _line("best checkpoint", f"iteration {run.best_iteration:,}, the fewest errors on held-out images")
    terminal.print(f"  {'run':<17} {run.run}")


def _print(report: TrainingReport) -> None:
    if report.stopped_by is not None:
        terminal.print(_stopped(report))
        terminal.print("Go on with: " + go_on_command(report.run), style="bold")
        return
    terminal.print(
        f"Trained {report.recipe} to iteration {report.iteration:,} ({terminal.duration(report.seconds)}).",
        style="bold",
    )
    if report.rounding is not None and report.evaluation is not None:
        _print_rounding(report.rounding, report.evaluation, report.test_part)
    elif report.evaluation is not None:
        _line(f"{report.test_part} accuracy", _figures(report.evaluation))
        if report.classes > 10:
            top5 = report.evaluation
            _line("top-5 accuracy", f"{100 * top5.top5_accuracy:.2f} % ({top5.top5_errors:,} errors)")
    if report.averaged is not None:
        _line("averaged weights", _figures(report.averaged))
    if report.validation is not None:
        averaged = report.averaged_validation
        also = f"; averaged weights {_figures(averaged)}" if averaged is not None else ""
        _line("held-out accuracy", f"{_figures(report.validation)}{also}")
    if report.best_iteration is not None:
        _line("best checkpoint", f"iteration {report.best_iteration:,}, the fewest errors on held-out images")
    if report.recovery is not None and report.rounding is None:
        found = report.recovery
        _line(
            "learned shape",
            f"median distance to the hidden shape {found.median_distance:.3f} px, "
            f"{found.near} of {found.synapses} synapses within 0.5 px",
        )
    if report.frozen is not None and report.evaluation is not None:
        behind = 100 * (report.evaluation.accuracy - report.frozen.accuracy)
        _line(
            "frozen positions",
            f"{100 * report.frozen.accuracy:.2f} %: the same network without moving its synapses "
            f"{'lies' if behind >= 0 else 'is'} {abs(behind):.1f} points {'behind' if behind >= 0 else 'ahead'}",
        )
    if report.learned_positions and report.hidden_positions and report.rounding is None:
        terminal.print()
        for line in sketch(report.learned_positions[0], report.hidden_positions[0], columns=terminal.width() - 2):
            terminal.print("  " + line)
        terminal.print()
    if report.broken_images:
        files = "file" if report.broken_images == 1 else "files"
        _line("left out", f"{report.broken_images:,} {files} that cannot be read, named in broken_images.jsonl")
    # A path is copied: it stays whole.
    terminal.print(f"  {'run':<17} {report.run}")
    if report.rounding is None and report.active_layers:
        terminal.print("Next: " + f"acu animate-shapes {quoted(report.run)}", style="bold")
    else:
        terminal.print("Next: " + f"acu evaluate {quoted(report.run)}", style="bold")


def _print_rounding(rounding: RoundingFigures, final: Evaluation, part: str) -> None:
    _line("parent", f"{rounding.parent}, iteration {rounding.parent_iteration:,}")
    _line("before rounding", _error(rounding.before, part))
    _line("after rounding", _error(rounding.after, part))
    _line("after fine-tuning", _error(final, part))
    if not rounding.collisions:
        _line("shared cells", "none: every synapse has a cell of its own")
    for entry in rounding.collisions:
        y, x = entry["cell"]
        numbers = ", ".join(str(number) for number in entry["synapses"])
        group = f", group {entry['group']}" if entry["group"] else ""
        _line("shared cell", f"{entry['layer']}{group}: synapses {numbers} all fell on (y {y}, x {x}) and are summed")


def _figures(evaluation: Evaluation) -> str:
    return f"{100 * evaluation.accuracy:.2f} % ({evaluation.errors:,} errors in {evaluation.images:,} images)"


def _error(evaluation: Evaluation, part: str) -> str:
    share = 100 * evaluation.errors / evaluation.images
    return f"{share:.2f} % error ({evaluation.errors:,} of {evaluation.images:,} {part} images)"


def _line(name: str, value: str) -> None:
    head = f"  {name:<17} "
    if not sys.stdout.isatty():
        terminal.print(head + value)
        return
    # Between words, and not between a number and its unit: a terminal's own breaks would part its digits.
    joined = re.sub(r"(?<=\d) (?=[%(a-z])", "\N{NO-BREAK SPACE}", value)
    room = max(20, terminal.width() - len(head))
    lines = textwrap.wrap(joined, room, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        terminal.print((" " * len(head) if number else head) + line.replace("\N{NO-BREAK SPACE}", " "))


def _stopped(report: TrainingReport) -> str:
    reached = f"iteration {report.iteration:,} of {report.iterations:,}"
    return f"Stopped by {report.stopped_by} at {reached}; everything is saved."
