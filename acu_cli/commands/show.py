"""`acu show`."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acu_cli import terminal

if TYPE_CHECKING:
    from acu_cli.watch.followed_run import FollowedRun

_CURVE_ROWS = 5
_BAR = 20


def show(
    run: Annotated[Path, typer.Argument(help="A run's directory.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show one run in a screen: where it stands, its errors, how far its synapses have moved, and its recipe."""
    from acu_cli.run_standing import RunStanding
    from acu_cli.watch.followed_run import FollowedRun
    from acu_cli.watch.standing import standing
    from acu_cli.watch.watch_picture import WatchPicture

    followed = FollowedRun(run)
    followed.poll_all()
    picture = WatchPicture(followed)
    picture.playback.advance(time.monotonic())
    short = RunStanding.of(followed.directory.path)
    differences = _differences(followed)
    found = standing(picture)
    if json:
        report = {
            **found,
            "bytes": short.bytes,
            "error_curve": list(zip(followed.log.evaluated, followed.log.errors, strict=True)),
        }
        terminal.json({**report, "differs_from_built_in": differences})
        return
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(short.written))
    terminal.print(f"{followed.name}: {found['recipe']}, {short.condition}", style="bold")
    terminal.print(
        f"iteration {followed.iteration:,} of {followed.plan.iterations:,}, last written {written}, "
        f"{short.bytes / 1e6:.1f} MB"
    )
    left, speed = followed.seconds_left, followed.speed
    if left is not None and speed is not None:
        terminal.print(f"{speed:.1f} iterations a second, {terminal.duration(left)} left")
    if found["loss"] is not None:
        terminal.print(f"loss {found['loss']:.4f}, the mean of the latest iterations")
    _print_errors(followed)
    _print_movement(found["moved_pixels"])
    _print_differences(differences)
    for problem in followed.problems:
        terminal.warning(problem)


def _print_errors(run: FollowedRun) -> None:
    from acu_cli.watch.curve_panel import PERCENT, dots_across, joined, put_curve
    from acu_cli.watch.live_screen import is_ascii
    from acu_cli.watch.page import Page, Style

    evaluated, errors = run.log.evaluated, run.log.errors
    if not errors:
        terminal.print("no test error yet")
        return
    best = min(range(len(errors)), key=errors.__getitem__)
    terminal.print(
        f"test error {errors[-1]:.2f} % at iteration {evaluated[-1]:,}; the lowest was {errors[best]:.2f} % at "
        f"{evaluated[best]:,}"
    )
    last = run.log.last_evaluation
    if last is not None:
        for name, wrong, images in (
            ("the averaged weights", last.average_test_errors, last.test_images),
            ("the images held out for validation", last.validation_errors, last.validation_images),
            ("those by the averaged weights", last.average_validation_errors, last.validation_images),
        ):
            if wrong is not None and images:
                terminal.print(f"{name}: {100.0 * wrong / images:.2f} % error")
    if len(errors) > 1:
        columns = min(terminal.width(), 80)
        page = Page(_CURVE_ROWS, columns, ascii_only=is_ascii(sys.stdout.encoding))
        values = joined(evaluated, errors, evaluated[-1], dots_across(columns))
        put_curve(page, 0, 0, _CURVE_ROWS, columns, values, Style.ERROR, digits=1, bounds=PERCENT)
        terminal.print("\n".join(page.lines()))


def _print_movement(moved: dict[str, float | None]) -> None:
    if not moved:
        return
    terminal.print("moved from its start, root mean square of a layer's synapses:")
    most = max((value for value in moved.values() if value is not None), default=0.0)
    letters = max(map(len, moved))
    for name, value in moved.items():
        length = 0 if value is None or most == 0 else math.ceil(_BAR * value / most)
        amount = "not finite" if value is None else f"{value:.2f} px"
        terminal.print(f"  {name.ljust(letters)}  {amount}  {'=' * length}".rstrip())


def _print_differences(differences: list[dict[str, Any]] | None) -> None:
    if differences is None:
        terminal.print("its recipe is not a built-in one")
    elif not differences:
        terminal.print("its recipe is the built-in one")
    else:
        terminal.print("differs from the built-in recipe:")
        for entry in differences:
            terminal.print(f"  {entry['key']} = {entry['run']} (built in: {entry['built_in']})")


def _differences(run: FollowedRun) -> list[dict[str, Any]] | None:
    """In which keys its recipe differs from the built-in one of the same name; None where there is none."""
    from acu_core.recipe.differences import recipe_differences
    from acu_core.recipe.recipe_file import built_in_recipes, load_recipe
    from acu_core.train.run_recipe import run_recipe

    if run.plan.recipe not in built_in_recipes():
        return None
    found = recipe_differences(run_recipe(run.directory), load_recipe(run.plan.recipe), ("paper", "description"))
    return [{"key": key, "run": ours, "built_in": theirs} for key, ours, theirs in found]
