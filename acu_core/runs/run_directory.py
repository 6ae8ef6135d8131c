"""A run: one training, one directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acu_core.durable import publish_directory, write_text_durably
from acu_core.errors import Action, Remedy, UserError
from acu_core.runs.environment_file import (
    Environment,
    decode_environment,
    encode_environment,
    without_later_choices,
)
from acu_core.runs.regular_file import open_regular
from acu_core.runs.run_lock import hold_lock, hold_lock_to_read, is_held

_RECIPE = "recipe.toml"
_ENVIRONMENT = "environment.json"


class RunExistsError(UserError):
    """A run was to be made where one is."""


class RunDirectory:
    """The paths and fixed facts of a run. Get one by `create` or `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        recipe_toml: str,
        environment: Mapping[str, Any],
        fill: Callable[[RunDirectory], None] | None = None,
    ) -> RunDirectory:
        """Makes a run, in one step: a killed process leaves all of it, or nothing that is in the way of the next.

        `path` must not exist, or be an empty directory, which stays the same one: it may be the working directory.
        Anything else is a UserError and stays as it is. `fill` may write more into the run before it appears.
        """
        path = Path(path)
        # Encoded first, so that an environment that is no JSON leaves nothing behind.
        files = {_ENVIRONMENT: encode_environment(environment), _RECIPE: recipe_toml}
        for text in files.values():
            text.encode()

        def build(directory: Path) -> None:
            run = cls(directory)
            run.checkpoints.mkdir()
            run.figures.mkdir()
            for name, text in files.items():
                write_text_durably(directory / name, text)
            if fill is not None:
                fill(run)

        try:
            # What cannot be a path at all, such as a name with a null byte, is found here.
            os.fsencode(os.path.realpath(path))
            taken = os.path.lexists(path)
        except (OSError, ValueError) as error:
            raise UserError(f"the run directory {str(path)!r} cannot be made: {error}") from error
        try:
            publish_directory(path, build, last=_RECIPE)
        except OSError as error:
            if os.path.isfile(path / _RECIPE):
                raise RunExistsError(
                    f"{path} holds a run already",
                    Remedy(Action.RESUME, str(path)),
                    Remedy(Action.CHOOSE_OUT, str(path)),
                ) from error
            if taken and (isinstance(error, FileExistsError) or not os.path.isdir(path)):
                raise UserError(
                    f"{path} exists already and is not an empty directory", Remedy(Action.CHOOSE_OUT, str(path))
                ) from error
            raise UserError(f"the run directory {path} cannot be made: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """An existing run. Raises UserError when `path` is none."""
        path = Path(path)
        if path.is_file():
            # Here, for a run's directory is opened without NumPy.
            from acu_core.runs.snapshot_header import is_snapshot_file

            remedies = [Remedy(Action.DRAW_FILE, str(path))] if is_snapshot_file(path) else []
            raise UserError(f"{path} is a file and not the directory of a run", *remedies)
        if not path.is_dir():
            raise UserError(f"there is no run at {path}")
        if not (path / _RECIPE).is_file():
            raise UserError(f"{path} is not a run, it has no {_RECIPE}")
        return cls(path)

    @property
    def recipe_toml(self) -> str:
        """The resolved recipe, as written."""
        return self._read(_RECIPE)

    @property
    def environment(self) -> Environment:
        """Everything that was chosen automatically when the run began, and the versions it ran with."""
        return decode_environment(self._read(_ENVIRONMENT), self.path / _ENVIRONMENT)

    @property
    def environment_sha256(self) -> str:
        """The hash of the environment's file, by which a checkpoint tells that it was changed.

        Without what the training itself adds to it: a checkpoint would not know that it was added since.
        """
        return hashlib.sha256(without_later_choices(self._read(_ENVIRONMENT)).encode()).hexdigest()

    @property
    def imported_iterations(self) -> frozenset[int]:
        """The iterations that came from elsewhere: no training here can make their checkpoints again."""
        return frozenset(file["iteration"] for file in self.environment.get("imported", {}).get("files", []))

    def replace_recipe(self, recipe_toml: str) -> None:
        """Writes another recipe in one step: a finished run is extended so."""
        write_text_durably(self.path / _RECIPE, recipe_toml)

    def replace_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes another environment in one step."""
        write_text_durably(self.path / _ENVIRONMENT, encode_environment(environment))

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
    def is_locked(self) -> bool:
        """Whether a process is writing the run at this moment, such as one that trains it."""
        return is_held(self.path / ".lock")

    @property
    def metrics(self) -> Path:
        """The log of what the arithmetic decides."""
        return self.path / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        """The log of times and speeds, which no comparison reads."""
        return self.path / "timings.jsonl"

    @property
    def broken_images(self) -> Path:
        """The log of image files that were left out, which no comparison reads; only where some were."""
        return self.path / "broken_images.jsonl"

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
            with open_regular(self.path / name) as file:
                return file.read().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path / name} cannot be read: it is not UTF-8 text") from error
        except OSError as error:
            raise UserError(f"{self.path / name} cannot be read: {error.strerror}") from error
