from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from acu_core.data.whitening import apply_zca, fit_zca
from acu_core.errors import UserError


def _images(count: int, seed: int = 0) -> Tensor:
    """(count, 3, 4, 4): correlated values, so that there is something to whiten."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(48, 48, generator=torch.Generator().manual_seed(99))
    return (torch.randn(count, 48, generator=draw) @ mixing + 3).view(count, 3, 4, 4)


@pytest.mark.parametrize("count", [1, 2, 20, 47, 48, 49, 500, 5000])
def test_against_the_definition(count: int) -> None:
    images = _images(count)
    flat = images.flatten(1).double().numpy()
    centred = flat - flat.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / count + 0.1 * np.eye(48))
    whitening = fit_zca(images, bias=0.1)
    np.testing.assert_allclose(whitening.matrix.numpy(), vectors / np.sqrt(values) @ vectors.T, atol=2e-6)
    np.testing.assert_allclose(whitening.mean.numpy(), flat.mean(0), atol=1e-5)


def test_the_covariance_is_computed_in_blocks_that_need_not_divide_the_size() -> None:
    images = torch.randn(1000, 3, 12, 12, generator=torch.Generator().manual_seed(0))  # 432 values, blocks of 384
    flat = images.flatten(1).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True) + 0.1 * np.eye(432))
    np.testing.assert_allclose(fit_zca(images).matrix.numpy(), vectors / np.sqrt(values) @ vectors.T, atol=2e-6)


def test_whitened_images_have_the_covariance_that_the_bias_leaves() -> None:
    images = _images(4000)
    whitening = fit_zca(images, bias=0.1)
    whitened = apply_zca(images, whitening).flatten(1).double()
    assert whitened.mean(0).abs().max() < 1e-4
    variances = torch.linalg.eigvalsh(torch.from_numpy(np.cov(images.flatten(1).double().numpy().T, bias=True)))
    found = torch.linalg.eigvalsh(whitened.T @ whitened / len(whitened))
    assert torch.allclose(found, variances / (variances + 0.1), atol=1e-4)


def test_fits_to_the_training_images_only() -> None:
    whitening = fit_zca(_images(200))
    other = _images(10, seed=1)
    expected = (other.flatten(1) - whitening.mean) @ whitening.matrix
    assert torch.allclose(apply_zca(other, whitening).flatten(1), expected, atol=1e-5)


def test_pixels_keep_their_places() -> None:
    images = _images(3000)
    whitened = apply_zca(images, fit_zca(images))
    # ZCA is the whitening nearest to the identity: each value goes with itself.
    flat, white = (part.flatten(1) - part.flatten(1).mean(0) for part in (images, whitened))
    assert bool(((flat * white).mean(0) > 0).all())


def test_the_same_images_give_the_same_bits() -> None:
    first, second = fit_zca(_images(300)), fit_zca(_images(300))
    assert torch.equal(first.matrix, second.matrix)
    assert torch.equal(first.mean, second.mean)


def test_full_size_images_take_no_time_when_they_are_few() -> None:
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whitening = fit_zca(images)
    assert whitening.matrix.shape == (3072, 3072)
    assert torch.allclose(whitening.matrix, whitening.matrix.T, atol=1e-6)
    assert float(apply_zca(images, whitening).flatten(1).mean(0).abs().max()) < 1e-4


def test_no_images_to_whiten() -> None:
    assert apply_zca(_images(0), fit_zca(_images(5))).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("images", "bias", "message"),
    [
        (torch.zeros(0, 3, 4, 4), 0.1, r"\(0, 3, 4, 4\)"),
        (torch.zeros(3, 48), 0.1, r"\(3, 48\)"),
        (torch.zeros(3, 3, 4, 4), 0.0, "bias of the whitening is 0.0"),
        (torch.zeros(3, 3, 4, 4), float("nan"), "bias of the whitening is nan"),
        (torch.full((3, 3, 4, 4), float("inf")), 0.1, "finite"),
    ],
)
def test_what_cannot_be_whitened_is_refused(images: Tensor, bias: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_zca(images, bias)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="fitted to images of 48 values, but these have 75"):
        apply_zca(torch.zeros(2, 3, 5, 5), fit_zca(_images(5)))
