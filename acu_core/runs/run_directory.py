"""A run: one training, one directory."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acu_core.durable import sync_directory, write_text_durably
from acu_core.errors import UserError
from acu_core.runs.run_lock import hold_lock, hold_lock_to_read

_RECIPE = "recipe.toml"
_ENVIRONMENT = "environment.json"
_TABLES = ("data", "operator", "versions", "imported")


class RunDirectory:
    """The paths and fixed facts of a run. Get one by `create` or `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: str | os.PathLike[str], recipe_toml: str, environment: Mapping[str, Any]) -> RunDirectory:
        """Makes a run, in one step: a killed process leaves all of it or nothing at `path`.

        `path` must not exist, or be an empty directory; anything else is a UserError and stays as it is.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if (path / _RECIPE).is_file():
                raise UserError(
                    f"{path} holds a run already: go on with it by `acu train --resume {path}`, "
                    "or choose another directory"
                )
            raise UserError(f"{path} exists already and is not an empty directory: choose another one")
        # Encoded first, so that an environment that is no JSON leaves nothing behind.
        facts = _encode_environment(environment)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Beside the target, where a rename is possible; `path.name` is empty for "." alone.
            target = path.resolve()
            building = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
            building.mkdir()
        except OSError as error:
            raise UserError(f"the run directory {path} cannot be made: {error.strerror}") from error
        try:
            run = cls(building)
            run.checkpoints.mkdir()
            run.figures.mkdir()
            write_text_durably(building / _ENVIRONMENT, facts)
            write_text_durably(building / _RECIPE, recipe_toml)
            os.rename(building, target)
        except BaseException as error:
            shutil.rmtree(building, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise UserError(f"the run directory {path} cannot be made: {error.strerror}") from error
        sync_directory(target.parent)
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """An existing run. Raises UserError when `path` is none."""
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"there is no run at {path}: give the directory that `acu train` made")
        if not (path / _RECIPE).is_file():
            raise UserError(f"{path} is not a run, it has no {_RECIPE}: give the directory that `acu train` made")
        return cls(path)

    @property
    def recipe_toml(self) -> str:
        """The resolved recipe, as written."""
        return self._read(_RECIPE)

    @property
    def environment(self) -> dict[str, Any]:
        """Everything that was chosen automatically when the run began, and the versions it ran with."""
        try:
            content = json.loads(self._read(_ENVIRONMENT))
        except ValueError as error:
            raise UserError(f"{self.path / _ENVIRONMENT} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{self.path / _ENVIRONMENT} is not a JSON object")
        for table in _TABLES:
            if not isinstance(content.get(table, {}), dict):
                raise UserError(f"{self.path / _ENVIRONMENT} is damaged: {table} is not a JSON object")
        return content

    @property
    def imported_iterations(self) -> frozenset[int]:
        """The iterations that came from elsewhere: no training here can make their checkpoints again."""
        files = self.environment.get("imported", {}).get("files")
        found = [file.get("iteration") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
        return frozenset(iteration for iteration in found if isinstance(iteration, int))

    def replace_recipe(self, recipe_toml: str) -> None:
        """Writes another recipe in one step: a finished run is extended so."""
        write_text_durably(self.path / _RECIPE, recipe_toml)

    def replace_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes another environment in one step."""
        write_text_durably(self.path / _ENVIRONMENT, _encode_environment(environment))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process alone. Raises UserError when another one holds it."""
        with hold_lock(self.path / ".lock"):
            yield

    @contextmanager
    def lock_to_read(self) -> Iterator[None]:
        """Keeps others from writing the run, which may be read-only. Raises UserError when one is writing it."""
        with hold_lock_to_read(self.path / ".lock"):
            yield

    @property
    def metrics(self) -> Path:
        """The log of what the arithmetic decides."""
        return self.path / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        """The log of times and speeds, which no comparison reads."""
        return self.path / "timings.jsonl"

    @property
    def positions(self) -> Path:
        """The snapshots."""
        return self.path / "positions.bin"

    @property
    def checkpoints(self) -> Path:
        """The directory of checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """The directory of pictures and animations."""
        return self.path / "figures"

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path / name} cannot be read: {error}") from error


def _encode_environment(environment: Mapping[str, Any]) -> str:
    return json.dumps(dict(environment), allow_nan=False, ensure_ascii=False, indent=2) + "\n"
