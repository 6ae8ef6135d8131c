from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from acu_core.data.augmentation import random_crop_and_mirror
from acu_core.errors import UserError


def _distinct(batch: int, channels: int, height: int, width: int) -> Tensor:
    return torch.arange(batch * channels * height * width, dtype=torch.float32).view(batch, channels, height, width)


def _possible(image: Tensor, padding: int, mirror: bool) -> list[Tensor]:
    """All crops and mirror images of one image (C, H, W), by PyTorch's own reflection padding."""
    height, width = image.shape[1:]
    padded = functional.pad(image[None], (padding,) * 4, mode="reflect")[0]
    shifts = itertools.product(range(2 * padding + 1), repeat=2)
    crops = [padded[:, y : y + height, x : x + width] for y, x in shifts]
    return crops + [crop.flip(2) for crop in crops] if mirror else crops


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_each_result_is_one_of_the_crops_and_every_crop_occurs(padding: int, mirror: bool) -> None:
    images = _distinct(1, 2, 3, 5).expand(1500, -1, -1, -1)
    result = random_crop_and_mirror(images, padding=padding, mirror=mirror, seed=1, iteration=7)
    possible = _possible(images[0], padding, mirror)
    assert result.shape == images.shape
    # As sets of values: in so small an image some shifts and mirrors coincide.
    assert {tuple(image.flatten().tolist()) for image in result} == {
        tuple(crop.flatten().tolist()) for crop in possible
    }


def test_images_keep_their_places_in_the_batch() -> None:
    images = _distinct(40, 3, 8, 8)
    result = random_crop_and_mirror(images, padding=4, seed=0, iteration=1)
    for image, cropped in zip(images, result, strict=True):
        assert any(torch.equal(crop, cropped) for crop in _possible(image, 4, True))


def test_crops_and_mirrors_are_equally_likely() -> None:
    images = torch.arange(3.0).view(1, 1, 1, 3).expand(20_000, 1, 2, 3)
    result = random_crop_and_mirror(images, padding=1, seed=3, iteration=2)[:, 0, 0]
    counts = {tuple(row.tolist()): 0 for row in result.unique(dim=0)}
    for row in result.tolist():
        counts[tuple(row)] += 1
    # Shifts 0, 1, 2 of the padded row 1 0 1 2 1, and their mirror images; 1 0 1 is its own.
    expected = {(1, 0, 1): 2, (0, 1, 2): 1, (1, 2, 1): 2, (2, 1, 0): 1}
    assert counts.keys() == expected.keys()
    for row, share in expected.items():
        assert counts[row] == pytest.approx(share * 20_000 / 6, rel=0.06)


def test_is_a_pure_function_of_seed_and_iteration() -> None:
    images = _distinct(64, 3, 8, 8)
    first = random_crop_and_mirror(images, seed=4, iteration=9)
    random_crop_and_mirror(images, seed=4, iteration=10)
    assert torch.equal(first, random_crop_and_mirror(images, seed=4, iteration=9))
    assert not torch.equal(first, random_crop_and_mirror(images, seed=4, iteration=10))
    assert not torch.equal(first, random_crop_and_mirror(images, seed=5, iteration=9))


def test_leaves_the_global_generator_and_the_images_alone() -> None:
    images = _distinct(8, 1, 6, 6)
    before, state = images.clone(), torch.get_rng_state()
    random_crop_and_mirror(images, seed=0, iteration=1)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_strided_images_and_other_dtypes() -> None:
    images = _distinct(16, 3, 12, 12)
    expected = random_crop_and_mirror(images[:, :, ::2, 1::2].contiguous(), seed=0, iteration=1)
    assert torch.equal(random_crop_and_mirror(images[:, :, ::2, 1::2], seed=0, iteration=1), expected)
    channels_last = images[:, :, ::2, 1::2].to(memory_format=torch.channels_last)
    assert torch.equal(random_crop_and_mirror(channels_last, seed=0, iteration=1), expected)
    half = random_crop_and_mirror(images[:1].half(), seed=0, iteration=1)
    assert half.dtype == torch.float16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this machine")
def test_the_same_draw_on_the_gpu() -> None:
    images = _distinct(64, 3, 32, 32)
    on_device = random_crop_and_mirror(images.cuda(), seed=2, iteration=3)
    assert on_device.is_cuda
    assert torch.equal(on_device.cpu(), random_crop_and_mirror(images, seed=2, iteration=3))


@pytest.mark.parametrize("padding", [-1, 4, 9])
def test_padding_that_does_not_fit_is_refused(padding: int) -> None:
    with pytest.raises(UserError, match="choose a padding from 0 to 3"):
        random_crop_and_mirror(torch.zeros(1, 1, 4, 6), padding=padding, seed=0, iteration=1)


def test_other_ranks_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(3, 4, 4\)"):
        random_crop_and_mirror(torch.zeros(3, 4, 4), seed=0, iteration=1)
