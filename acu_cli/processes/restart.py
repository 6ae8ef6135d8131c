"""torchrun starts processes again that have failed (--max-restarts), by the same command: they go on with their run."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_KEY = "acu/run"
_PATIENCE = timedelta(seconds=60)


def remember_run(run: Path) -> None:
    """Tells torchrun's store, which outlives the processes, what run they train."""
    # Where it cannot be told, a restart begins a run of its own: no reason to end this one.
    with suppress(RuntimeError):
        store = _store()
        if store is not None:
            store.set(_KEY, os.fsencode(run).hex())


def interrupted_run() -> Path | None:
    """The run that these processes trained when they were ended; None where they are started for the first time."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    store = _store()
    if store is None or not store.check([_KEY]):
        return None
    return Path(os.fsdecode(bytes.fromhex(store.get(_KEY).decode())))


def _store() -> Store | None:
    # It is torchrun's own, and not one of the first process that ends with it.
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_PATIENCE)
