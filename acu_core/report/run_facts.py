"""What a page says about a run beside its shapes, read from the run's files."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acu_core.errors import UserError
from acu_core.render.recording import Warn
from acu_core.report.environment_table import environment_rows
from acu_core.runs.metrics import Metrics, read_metrics
from acu_core.runs.run_directory import RunDirectory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class RunFacts:
    """All of it empty for a file of positions alone. `planned` iterations are the recipe's, None where unknown."""

    description: str = ""
    planned: int | None = None
    recipe: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    metrics: Metrics | None = None
    imported: bool = False
    """Whether all that it has came from elsewhere: then nothing says how far it is to go."""

    @classmethod
    def of(cls, source: RunDirectory | str | os.PathLike[str], warn: Warn) -> RunFacts:
        """Those of a run. What is damaged is left out, and `warn` is told: the shapes are worth a page without it."""
        if not isinstance(source, RunDirectory):
            if not Path(source).is_dir():
                return cls()
            source = RunDirectory.open(source)
        recipe = source.recipe_toml
        values = _parse(recipe)
        schedule = _table(values.get("schedule"))
        planned, description = schedule.get("iterations"), values.get("description")
        environment: tuple[tuple[str, str], ...] = ()
        metrics, imported = None, False
        try:
            environment = tuple(environment_rows(source.environment))
            imported = bool(source.imported_iterations)
        except UserError as error:
            warn(f"{error}; left out of the page")
        # Of a log that is damaged the recording has warned.
        with suppress(UserError):
            if source.metrics.exists():
                metrics = read_metrics(source.metrics, imported=source.imported_iterations)
        return cls(
            description if isinstance(description, str) else "",
            planned if type(planned) is int else None,
            recipe,
            environment,
            metrics,
            imported and not (metrics and metrics.training),
        )


def _parse(recipe: str) -> dict[str, Any]:
    # Not the recipe's own reader: a network of somebody's own may not be registered where the page is made.
    try:
        values: dict[str, Any] = tomllib.loads(recipe)
    except (ValueError, RecursionError):
        return {}
    return values


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
