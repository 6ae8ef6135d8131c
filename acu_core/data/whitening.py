"""ZCA whitening: the second half of the preprocessing of the paper's CIFAR experiments."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from acu_core.errors import UserError

_CHUNK = 2048  # images at a time: a float64 chunk of CIFAR-10 is then 50 MB
_BLOCK = 384  # rows of the covariance at a time: large enough for the matrix product to run at full speed


@dataclasses.dataclass(frozen=True)
class Whitening:
    """What ZCA learned from a training set: `mean` (D,) and the symmetric `matrix` (D, D), float32, D = C * H * W.

    A whitened image is `(image - mean) @ matrix`, pixels in (C, H, W) order.
    """

    mean: Tensor
    matrix: Tensor


def fit_zca(images: Tensor, bias: float = 0.1) -> Whitening:
    """`images` (N, C, H, W) -> the matrix (covariance + bias * I)^(-1/2) of them, computed in float64.

    `bias` is added to the eigenvalues of the covariance (divided by N), which bounds how far noise is amplified.
    50,000 images of 3 x 32 x 32 take about half a minute on one core. The same images give the same bits with the same
    number of threads, and the same values to float32 rounding with any.

    Raises `UserError` when there is no image, a value is not finite or the bias is not positive.
    """
    if images.ndim != 4 or images.shape[0] < 1:
        raise UserError(f"whitening needs images of shape (N, C, H, W) with N of at least 1, got {(*images.shape,)}.")
    if not bias > 0:
        raise UserError(f"the bias of the whitening is {bias}; it must be above 0.")
    flat = images.flatten(1)
    if not bool(flat.isfinite().all()):
        raise UserError("whitening needs finite images, and some values are not.")
    count, size = flat.shape
    mean = torch.zeros(size, dtype=torch.float64, device=images.device)
    for part in torch.split(flat, _CHUNK):
        mean += part.double().sum(0)
    mean /= count
    matrix = _from_few(flat, mean, bias) if count < size else _from_many(flat, mean, bias)
    return Whitening(mean.float(), matrix.float())


def apply_zca(images: Tensor, whitening: Whitening) -> Tensor:
    """(N, C, H, W) float32 -> (N, C, H, W) float32, whitened; on the device of `images`.

    Raises `UserError` when the images have another number of values than those that the whitening was fitted to.
    """
    size = images[0].numel() if len(images) else whitening.mean.numel()
    if size != whitening.mean.numel():
        raise UserError(
            f"the whitening was fitted to images of {whitening.mean.numel()} values, but these have {size}; "
            "training and test images must have the same shape."
        )
    mean, matrix = whitening.mean.to(images.device), whitening.matrix.to(images.device)
    result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    for source, target in zip(torch.split(images, _CHUNK), torch.split(result, _CHUNK), strict=True):
        torch.mm(source.flatten(1).float() - mean, matrix, out=target.flatten(1))
    return result


def _from_many(flat: Tensor, mean: Tensor, bias: float) -> Tensor:
    covariance = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64, device=flat.device)
    for part in torch.split(flat, _CHUNK):
        centred = part.double() - mean
        # Only the blocks on and below the diagonal, half of the work: eigh reads no others.
        for start in range(0, flat.shape[1], _BLOCK):
            rows = slice(start, start + _BLOCK)
            covariance[rows, : start + _BLOCK].addmm_(centred[:, rows].T, centred[:, : start + _BLOCK])
    covariance /= len(flat)
    values, vectors = torch.linalg.eigh(covariance, UPLO="L")
    # A covariance has no negative eigenvalues but those that rounding makes.
    matrix: Tensor = (vectors * (values.clamp(min=0) + bias).rsqrt()) @ vectors.T
    return matrix


def _from_few(flat: Tensor, mean: Tensor, bias: float) -> Tensor:
    # With fewer images than values most eigenvalues are 0, and the others are those of the small matrix of inner
    # products: seconds become milliseconds, which is what lets a test train on a handful of full-size images.
    centred = flat.double() - mean
    values, vectors = torch.linalg.eigh(centred @ centred.T / len(flat))
    kept = values > values.max() * 1e-12
    values, vectors = values[kept], vectors[:, kept]
    axes = centred.T @ (vectors / (values * len(flat)).sqrt())
    floor = bias**-0.5
    matrix: Tensor = (axes * ((values + bias).rsqrt() - floor)) @ axes.T
    matrix.diagonal().add_(floor)
    return matrix
