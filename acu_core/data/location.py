"""Where a data set is looked for."""

from __future__ import annotations

import os
from pathlib import Path


def data_place(path: Path | None) -> tuple[Path, str]:
    """`path`, else the environment variable `ACU_DATA`, else `./data`; and in words for messages which of them."""
    named = os.environ.get("ACU_DATA")
    if path is not None:
        return Path(path).expanduser(), "as asked for"
    if named:
        return Path(named).expanduser(), "as ACU_DATA says"
    return Path("data"), "the default"
