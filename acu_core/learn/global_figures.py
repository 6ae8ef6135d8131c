"""Loss and accuracy of whole batches, from those of the shares that several processes have of them."""

from __future__ import annotations

import torch
from torch import Tensor

from acu_core.learn.processes import Processes


def global_figures(figures: Tensor, batch_size: int, processes: Processes) -> Tensor:
    """(T, 2) float32 on the CPU: mean loss and accuracy (0 to 1) of T batches of `batch_size` images.

    `figures` (T, 2) are those of this process's own images. Every process gets the same; one alone gets its own.
    """
    if not processes.several:
        return figures
    share = len(processes.share(batch_size))
    own = figures.double() * share
    # A number of images, which rounding may not touch.
    own[:, 1].round_()
    # By the images that answered: where the others are made believe, their shares are not those of a real batch.
    total = processes.gathered(torch.cat([own, torch.full_like(own[:, :1], share)], dim=1)).sum(0)
    return (total[:, :2] / total[:, 2:]).float()
