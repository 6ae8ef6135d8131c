"""Packages beside acu that add to the registries: found by their entry points, imported when a name is unknown."""

from __future__ import annotations

from typing import Any

GROUP = "acu.plugins"
"""Of the entry points: each names a module that registers when it is imported, or a function that does when called."""
_failures: list[str] | None = None


def load_plugins() -> list[str]:
    """Loads all plugins, once a process; a sentence for each that failed."""
    global _failures
    if _failures is None:
        # Before the first is loaded: a plugin may itself look for an unknown name.
        _failures = []
        # Not at the top: most recipes name nothing that is unknown.
        from importlib.metadata import entry_points

        _failures += [failure for entry in entry_points(group=GROUP) if (failure := _load(entry))]
    return _failures


def _load(entry: Any) -> str:
    try:
        found = entry.load()
        if callable(found):
            found()
    except Exception as error:
        # Whatever it is: what is wrong in somebody else's package must not look like a fault of acu.
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        return f"the plugin {entry.name} ({entry.value}) cannot be loaded: {type(error).__name__}: {reason}"
    return ""
