"""What the shell offers when Tab is pressed."""

from __future__ import annotations

from pathlib import Path


def recipe_names(incomplete: str) -> list[str]:
    """Built-in recipes that begin with what was typed; found by their files, as completion must be instant."""
    folder = Path(__file__).resolve().parent.parent / "acu_core" / "recipes"
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem.startswith(incomplete))


def table_names(incomplete: str) -> list[str]:
    """Tables of the paper that begin with what was typed."""
    from acu_core.reproduce.tables import TABLES

    return [name for name in TABLES if name.startswith(incomplete)]
