"""Processes that torchrun, or another launcher, has started to train one network together: torch.distributed."""

from __future__ import annotations

import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from acu_core.errors import UserError
from acu_core.learn.announcement import Announcement, announced
from acu_core.learn.processes import ALONE, AnotherFailedError, LostProcessError, Processes

T = TypeVar("T")

_FAILED = "failed"
_PATIENCE = timedelta(days=7)
"""A data set may be downloaded by one process while the others wait. One that ends is noticed at once all the same."""


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that the environment announces, joined until the end of the body; `ALONE` where it announces none.

    Inside another `joined` it is that one's. However many processes fail, one of them raises what went wrong: the
    others raise AnotherFailedError, or are told so when they next wait for it. Raises UserError where the processes do
    not find one another.
    """
    announcement = announced()
    if announcement is None:
        yield ALONE
        return
    if _current:
        yield _current[-1]
        return
    processes = _join(announcement)
    _current.append(processes)
    try:
        with _silent_reducer():
            yield processes
    except BaseException as error:
        says = not isinstance(error, AnotherFailedError) and processes.fails_first()
        _leave(failed=True)
        lost = processes.lost(error)
        if not says:
            raise AnotherFailedError from error
        if lost is not None and lost is not error:
            raise lost from error
        raise
    else:
        _leave(failed=False)
    finally:
        _current.pop()


@contextmanager
def _silent_reducer() -> Iterator[None]:
    with warnings.catch_warnings():
        # Of a compiled network, whose gradients come in an order of their own; they are copied, which is no error.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        yield


def have_met() -> bool:
    """Whether this process has ever joined others: from then on only one of them raises what goes wrong."""
    return _have_met


class JoinedProcesses(Processes):
    """One of several, whose tensors travel through the default process group of torch.distributed.

    Whatever they tell one another beside gradients and BatchNorm's sums lies on the CPU (gloo), also where they train
    on GPUs, so that no agreement waits for a device.
    """

    def __init__(self, announcement: Announcement, store: Store) -> None:
        self.rank = announcement.rank
        self.size = announcement.size
        self.local_rank = announcement.local_rank
        self.local_size = announcement.local_size
        self._store = store
        self._turns = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> JoinedProcesses:
        # A copy of a network learns with the same processes.
        return self

    def gathered(self, value: Tensor) -> Tensor:
        """See `Processes`."""
        found = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(found, value.contiguous())
        return torch.stack(found)

    def collected(self, value: T) -> list[T]:
        """See `Processes`."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def most(self, *values: int) -> tuple[int, ...]:
        """See `Processes`."""
        numbers = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return tuple(numbers.tolist())

    def from_first(self, function: Callable[[], T]) -> T:
        """See `Processes`."""
        if self.leads:
            value = function()
            dist.broadcast_object_list([value], src=0)
            return value
        received: list[Any] = [None]
        dist.broadcast_object_list(received, src=0)
        found: T = received[0]
        return found

    @contextmanager
    def first_here(self) -> Iterator[None]:
        """See `Processes`."""
        self._turns += 1
        # Processes of one machine have consecutive numbers.
        key = f"turn {self._turns} of {self.rank - self.local_rank}"
        if self.local_rank == 0:
            try:
                yield
            except BaseException:
                self._store.set(key, "failed")
                raise
            self._store.set(key, "done")
            return
        self._store.wait([key], _PATIENCE)
        if self._store.get(key) != b"done":
            raise AnotherFailedError
        yield

    @contextmanager
    def together(self) -> Iterator[None]:
        """See `Processes`."""
        try:
            yield
        except Exception:
            # Where nobody can be told any more, everybody knows.
            with suppress(RuntimeError):
                self.most(1)
            raise
        if self.most(0) != (0,):
            raise AnotherFailedError

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """See `Processes`."""
        options: dict[str, Any] = {_SYNC_BUFFERS: False}
        # Either way, parameters that a network does not use get no gradient, as in one process, and nobody waits for
        # it. A static graph is the faster one. But it packs the gradients anew after the first iteration, and the order
        # in which three or more are summed follows from how they are packed: a resumed training had other bits.
        if device.type == "cuda":
            return DistributedDataParallel(model, device_ids=[device], static_graph=True, **options)
        return _AlikeInEveryIteration(model, find_unused_parameters=True, **options)

    def equalize(self, model: nn.Module) -> None:
        """See `Processes`."""
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)

    def lost(self, error: BaseException) -> LostProcessError | None:
        """See `Processes`."""
        text = str(error)
        # gloo raises plain RuntimeErrors, from the backward of DistributedDataParallel too.
        if not (isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in text)):
            return super().lost(error)
        # Without the place in PyTorch's sources, and what may be the cause in general.
        reason = re.sub(r"^\[\S*\]\s*", "", text).partition(". ")[0].partition("\n")[0][:200]
        return LostProcessError(f"another of the processes that train together has gone ({reason})")

    def fails_first(self) -> bool:
        """Whether no other process has failed before; each asks once. False where nobody can be asked any more."""
        with suppress(RuntimeError):
            return bool(self._store.add(_FAILED, 1) == 1)
        return False


class _AlikeInEveryIteration(DistributedDataParallel):
    def forward(self, *inputs: Any, **named: Any) -> Any:
        with warnings.catch_warnings():
            # That nothing was unused, and that looking for it takes time.
            warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified")
            return super().forward(*inputs, **named)  # type: ignore[no-untyped-call]


_current: list[JoinedProcesses] = []
_have_met = False
# BatchNorm's statistics are the same everywhere, or meant to differ. PyTorch 2.14 has renamed what says so.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)


def _join(announcement: Announcement) -> JoinedProcesses:
    # Both: gradients on GPUs travel by nccl, agreements and everything on the CPU by gloo.
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    rank, size = announcement.rank, announcement.size
    try:
        store, _, _ = next(rendezvous("env://", rank, size))
        # torchrun's store outlives processes that it starts again: they must not meet those that are gone.
        store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=PrefixStore("torch", store),
            rank=rank,
            world_size=size,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {rank} of {size} does not find the others ({' '.join(str(error).split())[:200]}): check "
            "MASTER_ADDR and MASTER_PORT, and that all are started"
        ) from error
    global _have_met
    _have_met = True
    return JoinedProcesses(announcement, PrefixStore("acu", store))


def _leave(*, failed: bool) -> None:
    if not dist.is_initialized():
        return
    if failed:
        # Not destroyed in peace: that would wait for what others owe, who wait for this process in turn.
        with suppress(RuntimeError):
            dist.distributed_c10d._abort_process_group()
        return
    dist.destroy_process_group()
