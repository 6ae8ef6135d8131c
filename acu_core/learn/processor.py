"""The name of the processor."""

from __future__ import annotations

from pathlib import Path


def processor_name() -> str | None:
    """The processor's model, where Linux tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(errors="replace").splitlines() if information.exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(names)) or None
