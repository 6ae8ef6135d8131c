"""The recipe of a run that lies on disk, and how it may be extended. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from acu_core.errors import UserError
from acu_core.recipe.recipe_file import parse_recipe, recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.runs.run_directory import RunDirectory

EXTENDABLE = (
    "schedule.iterations",
    "schedule.divisions",
    "schedule.evaluate_every",
    "schedule.checkpoint_every",
    "schedule.keep",
    "data.options.skip_broken",
)
"""The keys by which a run that has begun may be extended."""


def run_recipe(run: RunDirectory) -> Recipe:
    """The recipe of a run. Raises UserError when it is damaged."""
    return parse_recipe(run.recipe_toml, str(run.path / "recipe.toml"))


def run_device(path: Path) -> str:
    """Where the run at `path` was trained, as a recipe says it. Raises UserError when it is damaged."""
    return str(RunDirectory.open(path).environment.get("device", "auto"))


def check_extension(path: Path, overrides: Iterable[str]) -> None:
    """Raises UserError for overrides that no run like that at `path` can be extended by, however far it is."""
    run = RunDirectory.open(path)
    extended(run_recipe(run), run.path, list(overrides), reached=0)


def extended(recipe: Recipe, path: Path, overrides: list[str], reached: int) -> Recipe:
    """The recipe of the run at `path` with its schedule, or `skip_broken`, changed beyond iteration `reached`.

    Raises UserError for any other change.
    """
    refused = [text.partition("=")[0] for text in overrides if text.partition("=")[0].strip() not in EXTENDABLE]
    if refused:
        raise UserError(
            f"{', '.join(refused)} cannot change in a run that has begun (only {', '.join(EXTENDABLE)} can): "
            "start a new run with it"
        )
    changed = parse_recipe(recipe_toml(recipe), str(path / "recipe.toml"), overrides)
    if changed.schedule.iterations < reached:
        raise UserError(
            f"{path} has trained {reached} iterations already: schedule.iterations must be at least that, "
            f"got {changed.schedule.iterations}"
        )
    before, after = (r.schedule.decided_by(reached) for r in (recipe, changed))
    if before != after:
        if "iterations" in before:
            raise UserError(
                f"{path} has trained {reached} iterations of a {recipe.schedule.name} schedule that ends at "
                f"{recipe.schedule.iterations}: its learning rates depend on that, so schedule.iterations cannot "
                "change any more; a longer training is a new run"
            )
        decided = ", ".join(f"{name} at {value}" for name, value in before.items())
        raise UserError(f"{path} has trained {reached} iterations with {decided}: those cannot change any more")
    return changed
