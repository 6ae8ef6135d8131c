"""The other processes of a training that is only measured: really there, or made believe."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

from acu_core.learn.announcement import Announcement
from acu_core.learn.joined_processes import JoinedProcesses, joined
from acu_core.learn.processes import Processes

Company = Literal["none", "here", "elsewhere"]
"""The others do not exist, are processes of this machine, or would be on other machines and are made believe."""

_ANNOUNCED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def company_of(processes: int, device: torch.device) -> Company:
    """Where the others of so many processes can be: each needs a processor of this machine, or a GPU."""
    if processes == 1:
        return "none"
    places = torch.cuda.device_count() if device.type == "cuda" else _processors()
    return "here" if processes <= places else "elsewhere"


def environments(processes: int, company: Company) -> list[dict[str, str]]:
    """The environment of each process that is to be started, as torchrun would make it."""
    plain = {name: value for name, value in os.environ.items() if name not in _ANNOUNCED}
    # What PyTorch advises those who wrap a network for several processes is not for whoever reads a plan.
    plain.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if company != "here":
        return [plain]
    port = _free_port()
    threads = str(max(1, _processors() // processes))
    return [
        {
            "OMP_NUM_THREADS": threads,
            **plain,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        for rank in range(processes)
    ]


@contextmanager
def accompanied(processes: int, company: Company) -> Iterator[Processes]:
    """This process as one of so many, until the end of the body. Processes that are `here` do the same meanwhile."""
    if company != "elsewhere":
        with joined() as found:
            yield found
        return
    # Imported here: PyTorch has it for its own tests, and promises nothing.
    from torch.testing._internal.distributed.fake_pg import FakeStore

    store = FakeStore()
    dist.init_process_group("fake", store=store, rank=0, world_size=processes)
    try:
        yield _BusiestProcess(Announcement(0, processes, 0, 1), PrefixStore("acu", store))
    finally:
        dist.destroy_process_group()


class _BusiestProcess(JoinedProcesses):
    """The first process, which writes, with the largest share that any has, for which the others wait.

    What it would get from the others is what it has itself, at once.
    """

    def share(self, count: int) -> range:
        """See `Processes`."""
        return max(self.shares(count), key=len)

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """See `Processes`."""
        network = super().wrapped(model, device)
        assert isinstance(network, DistributedDataParallel)
        # The default one asks the group for a future, which one that is made believe has not.
        network.register_comm_hook(None, lambda _, bucket: _at_once(bucket.buffer()))
        return network


def _at_once(gradients: Tensor) -> torch.futures.Future[Tensor]:
    """The mean of gradients that are the same everywhere."""
    mean: torch.futures.Future[Tensor] = torch.futures.Future()
    mean.set_result(gradients)
    return mean


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
