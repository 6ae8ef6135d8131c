"""Several processes that train one network together: which one this is, what each does, and how they agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from acu_core.errors import UserError

T = TypeVar("T")


class AnotherFailedError(Exception):
    """Training ends because another process has failed, which says why itself: nothing to show here."""


class LostProcessError(UserError):
    """A process that trained along has gone without a word, by kill -9 for example."""


class Processes:
    """One process that trains alone; `JoinedProcesses` are several. Every method costs nothing here.

    All but `share` and `shares` are collective among several: every process calls them, in the same order.
    """

    rank: int = 0
    """This process's number among all."""
    size: int = 1
    """How many there are."""
    local_rank: int = 0
    """This process's number on its machine, and that of its GPU."""
    local_size: int = 1
    """How many there are on its machine."""

    @property
    def leads(self) -> bool:
        """Whether this process alone writes: the run, its lock, logs and checkpoints."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def shares(self, count: int) -> list[range]:
        """The rows of `count` that each process takes: number r those in [r * count / size, (r + 1) * count / size)."""
        borders = [number * count // self.size for number in range(self.size + 1)]
        return [range(*pair) for pair in itertools.pairwise(borders)]

    def share(self, count: int) -> range:
        """The rows of `count` that this process takes; none where there are fewer rows than processes."""
        return self.shares(count)[self.rank]

    def check_batch(self, batch_size: int) -> None:
        """Raises UserError where a batch has too few images for every process to get one."""
        if batch_size < self.size:
            raise UserError(
                f"a batch of {batch_size} images cannot be shared out to {self.size} processes, one of them would have "
                "none: use fewer processes, or a larger data.batch_size"
            )

    def gathered(self, value: Tensor) -> Tensor:
        """(size, ...): the tensors of all processes in the order of their numbers; all have one shape and dtype.

        Sums over it are the same in every process, and in every training by as many.
        """
        return value.unsqueeze(0)

    def collected(self, value: T) -> list[T]:
        """What each process gives, anything that can be pickled, in the order of their numbers."""
        return [value]

    def most(self, *values: int) -> tuple[int, ...]:
        """The largest of each of the numbers that the processes give."""
        return values

    def from_first(self, function: Callable[[], T]) -> T:
        """What `function` returns in the first process, which alone calls it; it must be something to pickle."""
        return function()

    @contextmanager
    def first_here(self) -> Iterator[None]:
        """The body runs in the first process of each machine, and only then in the others of that machine."""
        yield

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails in the body fails in all processes: the others raise AnotherFailedError at its end.

        Inside, the processes must not wait for one another.
        """
        yield

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """A network whose backward leaves in every process the mean over the processes of the gradients.

        `model` itself holds parameters, state and names as ever; it is what is recorded, saved and evaluated.
        """
        return model

    def equalize(self, model: nn.Module) -> None:
        """Gives every process the first one's buffers: BatchNorm's statistics, which may be each one's own."""

    def lost(self, error: BaseException) -> LostProcessError | None:
        """What `error` says in the words of a user, where it says that another process has gone."""
        return error if isinstance(error, LostProcessError) else None


ALONE = Processes()
