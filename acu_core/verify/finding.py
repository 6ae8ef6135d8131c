"""What one check has found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from acu_core.verify.deviation import Deviation


class NotChecked(Exception):
    """A check cannot be made here; the message says why."""


@dataclass(frozen=True)
class Finding:
    """A check's verdict: `ok`; `note` where it could not be made; `no` where the operator is wrong.

    Attributes:
        kernels: what was checked: an instruction set of the CPU, or a kind of CUDA kernels (columns, fused).
        name: of the check.
        compared: what was compared with what.
        error: the largest error, relative to what is right, or a count where `allowed` is 0; None where nothing was
            compared or the error is not finite.
        allowed: how large it may be.
        where: in which case and result that error is, or why nothing was compared.
    """

    kernels: str
    name: str
    compared: str
    verdict: Literal["ok", "note", "no"]
    error: float | None
    allowed: float | None
    where: str
    seconds: float


def find(kernels: str, name: str, compared: str, check: Callable[[], Deviation]) -> Finding:
    """Makes a check and times it. Whatever it raises is what is wrong."""
    begun = time.perf_counter()
    error: float | None = None
    allowed: float | None = None
    verdict: Literal["ok", "note", "no"]
    try:
        worst = check()
    except NotChecked as reason:
        verdict, where = "note", str(reason)
    except Exception as raised:
        lines = str(raised).strip().splitlines()
        verdict, where = "no", f"{type(raised).__name__}: {lines[0] if lines else 'no reason given'}"
    else:
        verdict, where = ("ok" if worst.passes else "no"), worst.where
        error, allowed = (worst.error if math.isfinite(worst.error) else None), worst.allowed
    return Finding(kernels, name, compared, verdict, error, allowed, where, time.perf_counter() - begun)
