"""What is read off a page in a browser, and done to it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from acu_core.render.colours import Colour
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_file import SnapshotFile

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MakeRun = Callable[..., RunDirectory]
OpenPage = Callable[..., "Page"]


def snapshots(page: Page) -> SnapshotFile:
    return SnapshotFile(Path(page.url.removeprefix("file://")).parents[1] / "positions.bin")


def index(page: Page) -> int:
    return int(page.evaluate("acu.index"))


def slide(page: Page, to: int) -> None:
    """As a hand on the slider does it."""
    slider = page.locator("#slider")
    slider.fill(str(to))


def pixels(element: Locator) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


def near(colour: npt.NDArray[np.uint8], wanted: Colour) -> bool:
    return bool(np.abs(colour.astype(int) - np.round(255 * np.asarray(wanted)).astype(int)).max() <= 4)
