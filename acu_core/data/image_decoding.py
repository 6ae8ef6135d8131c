"""One image file to pixels: decoded, cropped, resized, mirrored. Runs in the decoding processes, without PyTorch."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
from typing import Any

import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 3
"""Uniform numbers that one training image consumes: area and aspect of each attempt, row, column, mirror."""
_ASPECTS = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Crops:
    """How an image of any size becomes one of `size` x `size` pixels.

    In training a random part of at least `smallest` of the area, of an aspect from 3:4 to 4:3, is resized. In
    evaluation the shorter side is resized to `resize`, and the centre is cut out. Both are torchvision's
    RandomResizedCrop, and Resize with CenterCrop, pixel for pixel.
    """

    size: int = 224
    resize: int = 256
    smallest: float = 0.08


def read_image(path: str) -> Image.Image:
    """The image as RGB, whatever it was stored as. Raises what Pillow raises, and that is almost anything."""
    # A pipe would never end.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is not a file")
    with open(path, "rb") as file, Image.open(file) as image:
        image.load()
        # `convert` would copy what is RGB already.
        converted: Image.Image = image if image.mode == "RGB" else image.convert("RGB")
        return converted


def training_image(image: Image.Image, crops: Crops, draws: list[float], mirror: bool) -> Pixels:
    """(size, size, 3) uint8: the crop, mirrored or not, that the `DRAWS` uniform numbers in 0..1 decide."""
    left, top, width, height = random_part(image.width, image.height, crops.smallest, draws)
    part = image.crop((left, top, left + width, top + height))
    part = part.resize((crops.size, crops.size), Image.Resampling.BILINEAR)
    if mirror and draws[-1] < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(part)


def test_image(image: Image.Image, crops: Crops) -> Pixels:
    """(size, size, 3) uint8: the centre of the resized image."""
    shorter = min(image.width, image.height)
    width, height = (crops.resize * side // shorter for side in (image.width, image.height))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    # Python rounds halves to even, and so does torchvision.
    left, top = round((width - crops.size) / 2), round((height - crops.size) / 2)
    return np.asarray(image.crop((left, top, left + crops.size, top + crops.size)))


def random_part(width: int, height: int, smallest: float, draws: list[float]) -> tuple[int, int, int, int]:
    """Left, top, width and height of a random part of an image; the largest that fits after too many attempts."""
    logarithms = [math.log(aspect) for aspect in _ASPECTS]
    for attempt in range(ATTEMPTS):
        area = width * height * (smallest + (1 - smallest) * draws[2 * attempt])
        aspect = math.exp(logarithms[0] + (logarithms[1] - logarithms[0]) * draws[2 * attempt + 1])
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            row, column = draws[2 * ATTEMPTS : 2 * ATTEMPTS + 2]
            return int(column * (width - across + 1)), int(row * (height - down + 1)), across, down
    aspect = min(max(width / height, _ASPECTS[0]), _ASPECTS[1])
    across, down = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    return (width - across) // 2, (height - down) // 2, across, down
