"""Global contrast normalisation, the first half of the preprocessing of the paper's CIFAR experiments."""

from __future__ import annotations

import torch
from torch import Tensor


def global_contrast_normalize(images: Tensor, scale: float = 55.0) -> Tensor:
    """(N, C, H, W) of any real dtype -> (N, C, H, W) float32: each image minus its mean, scaled to a norm of `scale`.

    Mean and norm are over channels and pixels together. An image of one colour stays 0. This is the normalisation of
    Goodfellow et al. (Maxout Networks, 2013), which the paper follows.
    """
    # In parts, so that the float64 copies stay small; in float64, so that one threshold tells a constant image.
    result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    for source, target in zip(torch.split(images, 1024), torch.split(result, 1024), strict=True):
        pixels = source.double()
        pixels = pixels - pixels.mean(dim=(1, 2, 3), keepdim=True)
        norm = pixels.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        target.copy_(pixels * (scale / torch.where(norm > 1e-8, norm, torch.inf)))
    return result
