"""Which of two kernels a call is computed with: the faster one, where both come to the same on its own tensors."""

from __future__ import annotations

import statistics
import threading
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acu_core.errors import Notice

COLUMNS, FUSED = "columns", "fused"
ROUNDS = 5
"""Timed runs of each, in turns, after the one that is compared."""

Results = Sequence[Tensor]
Kernels = Callable[[], Results]
Clock = Callable[[Callable[[], object]], float]
"""Runs what it is given and says how many seconds that took, the device's work included."""


@dataclass(frozen=True)
class Tolerance:
    """How far the results of two kernels may be apart.

    Attributes:
        norm: of the difference, as a share of the norm of what is right.
        largest: of one element, as a share of the largest: few wrong pixels of many hardly change a norm.
    """

    norm: float
    largest: float


TOLERANCES: Mapping[torch.dtype, Tolerance] = {
    # Of TF32, whose mantissas have 10 bits: in full float32 there is nothing to choose from.
    torch.float32: Tolerance(5e-3, 2e-2),
    torch.float16: Tolerance(5e-3, 2e-2),
    torch.bfloat16: Tolerance(2e-2, 6e-2),
}
"""By dtype of the results. Columns are rounded to 16 bits and blends of the fused kernels as well, each in its way."""


class _Undecided(Exception):
    """What was compared shows nothing: zeros, or numbers that are not finite."""


class _Apart(Exception):
    """The results differ; the message says where and by how much."""


def _raise_warning(text: str) -> None:
    warnings.warn(text, Notice, stacklevel=2)


class KernelChooser:
    """Chooses once for every call that differs in shape, dtype or layout; safe for several threads.

    The columns' kernels are what is trusted: they compute whatever is not decided, where the two differ, and where the
    fused ones fail. All that can go wrong with those is a warning that names the call.
    """

    def __init__(
        self, clock: Clock, tolerances: Mapping[torch.dtype, Tolerance], warn: Callable[[str], None] = _raise_warning
    ) -> None:
        self._clock = clock
        self._tolerances = tolerances
        self._warn = warn
        self._choices: dict[Hashable, str] = {}
        self._undecided: dict[Hashable, int] = {}
        self._lock = threading.RLock()

    @property
    def choices(self) -> dict[Hashable, str]:
        """What is decided so far."""
        with self._lock:
            return dict(self._choices)

    def known(self, call: Hashable) -> str | None:
        """What is decided for `call`; None where nothing is."""
        return self._choices.get(call)

    def adopt(self, choices: Mapping[Hashable, str]) -> None:
        """Takes over what was decided elsewhere, in place of decisions of its own."""
        with self._lock:
            self._choices |= choices

    def forget(self) -> None:
        """Nothing is decided any more."""
        with self._lock:
            self._choices.clear()
            self._undecided.clear()

    def choose(self, call: Hashable, trials: Callable[[], Sequence[Trial]]) -> str:
        """COLUMNS or FUSED for `call`, whose text names it in warnings.

        Where nothing is decided yet, what `trials` gives is compared, and the first of it timed. Where that shows
        nothing, because a gradient is 0 throughout for example, it is asked for again at the 2nd, 4th, 8th ... call.
        """
        known = self._choices.get(call)
        if known is not None:
            return known
        with self._lock:
            # Another thread may have been at it.
            known = self._choices.get(call)
            if known is not None:
                return known
            count = self._undecided[call] = self._undecided.get(call, 0) + 1
            if count & (count - 1):
                return COLUMNS
            try:
                chosen = self._tried(call, trials())
            except _Undecided:
                return COLUMNS
            self._choices[call] = chosen
            return chosen

    def _tried(self, call: Hashable, trials: Sequence[Trial]) -> str:
        for trial in trials:
            try:
                right = trial.columns()
            except Exception:
                # The call itself will say it, and not run out of memory because two results are kept.
                return COLUMNS
            try:
                self._compare(trial.fused(), right, trial.sizes)
                if trial is trials[-1]:
                    return self._faster(trials[0])
            except _Undecided:
                raise
            except _Apart as difference:
                self._warn(f"the fused CUDA kernels are not used for {call}: {difference}")
                return COLUMNS
            except Exception as error:
                # Whatever an untried kernel raises: the columns' have just computed the same call.
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self._warn(f"the fused CUDA kernels are not used for {call}: {lines[0]}")
                return COLUMNS
        return COLUMNS

    def _compare(self, actual: Results, right: Results, sizes: Sequence[Tensor | None]) -> None:
        for number, (one, other, size) in enumerate(zip(actual, right, sizes, strict=True)):
            if one.shape != other.shape or one.dtype != other.dtype:
                kinds = [f"{tuple(result.shape)} {result.dtype}" for result in (one, other)]
                raise _Apart(f"result {number} is {kinds[0]}, not {kinds[1]}")
            if other.numel() == 0:
                continue
            tolerance = self._tolerances[other.dtype]
            wide = torch.float64 if other.dtype == torch.float64 else torch.float32
            expected, found = other.to(wide), one.to(wide)
            # What cancels to nearly nothing is only as exact as what is added up.
            scale = expected if size is None else torch.maximum(expected.abs(), size.to(wide))
            norm, largest = float(scale.norm()), float(scale.abs().max())
            if not torch.isfinite(expected).all() or norm == 0:
                raise _Undecided
            difference = found - expected
            for error, allowed, words in (
                (float(difference.norm()) / norm, tolerance.norm, "of its norm"),
                (float(difference.abs().max()) / largest, tolerance.largest, "of its largest number"),
            ):
                if not error <= allowed:
                    raise _Apart(
                        f"result {number} differs from that of the columns' kernels by {error:.1e} {words}, more than "
                        f"the {allowed:.0e} that rounding explains"
                    )

    def _faster(self, trial: Trial) -> str:
        seconds: dict[str, list[float]] = {COLUMNS: [], FUSED: []}
        for _ in range(ROUNDS):
            for name, run in ((COLUMNS, trial.columns), (FUSED, trial.fused)):
                seconds[name].append(self._clock(run))
        return FUSED if statistics.median(seconds[FUSED]) < statistics.median(seconds[COLUMNS]) else COLUMNS


@dataclass(frozen=True)
class Trial:
    """One call with both kernels.

    Attributes:
        columns: calls the operator with the columns' kernels, on detached tensors.
        fused: likewise with the fused ones.
        sizes: for each result None, or for each of its elements the size of a typical sum of what is added up for it,
            where that may cancel to nearly nothing.
    """

    columns: Kernels
    fused: Kernels
    sizes: Sequence[Tensor | None]
