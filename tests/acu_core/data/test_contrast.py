from __future__ import annotations

import numpy as np
import pytest
import torch

from acu_core.data.contrast import global_contrast_normalize


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_each_image_has_mean_zero_and_the_norm_asked_for(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (1500, 3, 5, 4), generator=torch.Generator().manual_seed(0)).to(dtype)
    result = global_contrast_normalize(images, 55.0)
    assert result.dtype == torch.float32
    assert result.shape == images.shape
    flat = result.double().flatten(1)
    assert torch.allclose(flat.mean(1), torch.zeros(1500, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(flat.norm(dim=1), torch.full((1500,), 55.0, dtype=torch.float64), rtol=1e-6)


def test_against_numpy_on_one_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 4)).astype(np.float64)
    expected = (image - image.mean()) / np.linalg.norm(image - image.mean()) * 7
    result = global_contrast_normalize(torch.from_numpy(image[None]).to(torch.uint8), scale=7)
    np.testing.assert_allclose(result[0].numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0, 1, 77, 200, 255])
def test_an_image_of_one_colour_stays_zero(value: int) -> None:
    images = torch.full((2, 3, 32, 32), value, dtype=torch.uint8)
    assert torch.equal(global_contrast_normalize(images), torch.zeros(2, 3, 32, 32))


def test_faint_images_are_scaled_too() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[0, 0, 0, 0] = 1e-4
    assert float(global_contrast_normalize(images).norm()) == pytest.approx(55, rel=1e-5)


def test_strided_images() -> None:
    images = torch.randint(0, 256, (4, 6, 8, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    result = global_contrast_normalize(images)
    assert result.is_contiguous()
    assert torch.equal(result, global_contrast_normalize(images.contiguous()))
