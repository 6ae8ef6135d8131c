"""Descriptors that a forked child must not keep open."""

from __future__ import annotations

import os
from contextlib import suppress

_kept: set[int] = set()


def _close_in_child() -> None:
    # A lock belongs to the open file, not the process: a forked worker that outlives its killed parent would keep it.
    for descriptor in _kept:
        with suppress(OSError):
            os.close(descriptor)
    _kept.clear()


os.register_at_fork(after_in_child=_close_in_child)


def keep_from_children(descriptor: int) -> None:
    """From now on a forked child begins with `descriptor` closed."""
    _kept.add(descriptor)


def is_ours(descriptor: int) -> bool:
    """Whether `descriptor` is kept from children, and this is no child from which it was kept."""
    return descriptor in _kept


def close_ours(descriptor: int) -> None:
    """Closes it; does nothing in a child, where that number may be another file's by now."""
    if descriptor in _kept:
        _kept.discard(descriptor)
        os.close(descriptor)
