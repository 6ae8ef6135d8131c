"""JPEG files that mean nothing and take as long to decode as photographs: where only the time of reading matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from acu_core.data.randomness import generator_for
from acu_core.errors import UserError

WIDTH, HEIGHT = 500, 400
QUALITY = 90
CLASSES = 4


def make_photos(folder: Path, count: int) -> None:
    """`count` images of 500 x 400, about 45 kB each, in `folder`/train, a fifth as many in `folder`/val; 4 classes.

    Noise of all sizes, the larger the stronger, as photographs have it. Raises `UserError` when `folder` is there, or
    cannot be made.
    """
    draw = generator_for(0, "made-up photos")
    try:
        folder.mkdir(parents=True)
        for part, images in (("train", count), ("val", max(CLASSES, count // 5))):
            for number in range(images):
                place = folder / part / f"class-{number % CLASSES}"
                place.mkdir(parents=True, exist_ok=True)
                _photo(draw).save(place / f"{number:07}.jpg", quality=QUALITY)
    except FileExistsError as error:
        raise UserError(f"{folder} is there already: images are only made in a folder that is not") from error
    except OSError as error:
        raise UserError(f"images cannot be made in {folder}: {error.strerror}") from error


def _photo(draw: np.random.Generator) -> Image.Image:
    pixels = np.full((HEIGHT, WIDTH, 3), 118.0) + draw.normal(0, 4, (HEIGHT, WIDTH, 3))
    for cells in (4, 8, 16, 32, 64, 128):
        coarse = draw.normal(0, 60 * (4 / cells) ** 0.7, (max(2, HEIGHT * cells // WIDTH), cells, 3))
        for channel in range(3):
            plane = Image.fromarray(coarse[..., channel].astype(np.float32))
            pixels[..., channel] += np.asarray(plane.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
