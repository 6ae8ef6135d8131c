from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from acu_core.data.image_decoding import DRAWS, Crops, random_part, read_image, test_image, training_image

centre_image = test_image
del test_image  # pytest would collect it


def _image(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("width", "height"), [(60, 40), (37, 91), (33, 33), (24, 24), (20, 30)])
def test_crops_are_those_of_torchvision(width: int, height: int) -> None:
    image, crops = _image(width, height), Crops(size=24, resize=29)
    expected = functional.center_crop(functional.resize(image, 29), [24, 24])
    assert np.array_equal(centre_image(image, crops), np.asarray(expected))
    draw = np.random.default_rng(1)
    for _ in range(20):
        draws = draw.random(DRAWS).tolist()
        left, top, across, down = random_part(width, height, crops.smallest, draws)
        expected = functional.resized_crop(image, top, left, down, across, [24, 24])
        assert np.array_equal(training_image(image, crops, draws, mirror=False), np.asarray(expected))
        if draws[-1] < 0.5:
            expected = functional.hflip(expected)
        assert np.array_equal(training_image(image, crops, draws, mirror=True), np.asarray(expected))


def test_random_parts_cover_what_they_should() -> None:
    draw = np.random.default_rng(2)
    parts = [random_part(100, 80, 0.25, draw.random(DRAWS).tolist()) for _ in range(2000)]
    left, top, across, down = (np.array(values) for values in zip(*parts, strict=True))
    assert ((left >= 0) & (top >= 0) & (left + across <= 100) & (top + down <= 80)).all()
    share = across * down / 8000
    assert share.min() > 0.23
    assert share.max() > 0.9
    assert (np.abs(np.log(across / down)) < np.log(4 / 3) + 0.05).all()
    assert (left.min(), top.min()) == (0, 0)
    assert ((left + across).max(), (top + down).max()) == (100, 80)


@pytest.mark.parametrize(("width", "height", "expected"), [(1000, 10, (493, 0, 13, 10)), (10, 1000, (0, 493, 10, 13))])
def test_where_no_part_fits_the_centre_is_taken(width: int, height: int, expected: tuple[int, ...]) -> None:
    # Whole-area draws: no aspect from 3:4 to 4:3 fits into so long an image.
    assert random_part(width, height, 1.0, [0.5] * DRAWS) == expected
    assert random_part(1, 1, 0.08, [0.0] * DRAWS)[2:] == (1, 1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_whatever_is_stored_becomes_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    _image(8, 6).convert(mode).save(file)
    image = read_image(str(file))
    assert (image.mode, image.size) == ("RGB", (8, 6))


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(OSError, match="it is not a file"):
        read_image(str(tmp_path / "pipe.jpg"))
