"""Finished runs that are written without a training: what a comparison reads of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acu_core.recipe.recipe_file import load_recipe, recipe_toml
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.run_directory import RunDirectory

ENVIRONMENT = {
    "threads": 1,
    "workers": 1,
    "device": "cpu",
    "device_name": "x86_64",
    "memory_format": "contiguous",
    "compile": False,
    "data": {"source": "generated", "fingerprint": {"data": "a" * 64}},
    "operator": {"compiled": True, "instruction_set": "avx2"},
    "processor": "AVX2",
    "versions": {"acu": "0.1.0", "torch": "2.10.0", "cuda": None, "numpy": "2.0.0"},
}


def write_run(
    path: Path,
    seed: int,
    errors: int | Mapping[int, int],
    *overrides: str,
    iterations: int = 20,
    environment: Mapping[str, Any] = ENVIRONMENT,
    images: int = 1000,
) -> Path:
    """A run of `planted` with so many errors at its end, or at some iterations, the last of which is its last one."""
    changes = [f"seed={seed}", f"schedule.iterations={iterations}", "schedule.warm_up=5", "schedule.divisions=[]"]
    recipe = load_recipe("planted", [*changes, "compare_frozen=false", *overrides])
    run = RunDirectory.create(path, recipe_toml(recipe), environment)
    evaluated = {iterations: errors} if isinstance(errors, int) else errors
    with LogWriter(run.metrics) as log:
        for iteration in range(1, max(evaluated, default=3) + 1):
            figures = {"loss": 1.0, "accuracy": 0.5, "learning_rate": 0.1, "position_learning_rate": 0.0}
            log.append({"iteration": iteration, **figures})
            if iteration in evaluated:
                wrong = evaluated[iteration]
                accuracy = (images - wrong) / images
                figures = {"test_loss": 1.0, "test_accuracy": accuracy, "test_errors": wrong, "test_images": images}
                log.append({"iteration": iteration, **figures})
    return path


def damage(path: Path, offset: int) -> None:
    """Flips a bit of a file, `offset` bytes from its beginning or, below 0, from its end."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def rounded(folder: Path, seed: int, parent: Path, errors: int = 100) -> Path:
    """A run that says it was rounded from a checkpoint of `parent`, which it makes."""
    checkpoint = parent / "checkpoints" / "00000020.pt"
    checkpoint.write_text(str(parent))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    named = f'parent={{run="{parent}", iteration=20, checkpoint_sha256="{digest}"}}'
    return write_run(folder / f"{parent.name}-rounded", seed, errors, "name=rounded", named)
