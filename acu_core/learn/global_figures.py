"""Loss and accuracy of whole batches, from those of the shares that several processes have of them."""

from __future__ import annotations

from torch import Tensor

from acu_core.learn.processes import Processes


def global_figures(figures: Tensor, batch_size: int, processes: Processes) -> Tensor:
    """(T, 2) float32 on the CPU: mean loss and accuracy (0 to 1) of T batches of `batch_size` images.

    `figures` (T, 2) are those of this process's own images. Every process gets the same; one alone gets its own.
    """
    if not processes.several:
        return figures
    own = figures.double() * len(processes.share(batch_size))
    # A number of images, which rounding may not touch.
    own[:, 1].round_()
    return (processes.gathered(own).sum(0) / batch_size).float()
