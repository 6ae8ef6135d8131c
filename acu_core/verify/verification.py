"""All checks of a machine's operator, one finding each, and what they mean together."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from acu_core.errors import Action, Remedy, UserError
from acu_core.op import library
from acu_core.op.kernel_chooser import COLUMNS, FUSED
from acu_core.verify import repetition
from acu_core.verify.checks import (
    Check,
    autocast_checks,
    elsewhere,
    parity_checks,
    repeated_check,
    value_checks,
)
from acu_core.verify.exact_products import exact_products
from acu_core.verify.execution import compile_checks, cuda_checks
from acu_core.verify.finding import Finding, find


@dataclass(frozen=True)
class Summary:
    """Of all findings: whether none is wrong, and in one sentence what they mean and what to do."""

    passed: bool
    sentence: str


def devices(name: str | None) -> tuple[torch.device, ...]:
    """The devices to verify: the one that is named, or the CPU and, where there is one, the GPU.

    Raises UserError for a device that is not there or for which there never is a kernel.
    """
    there = torch.cuda.is_available()
    if name is None:
        return tuple(map(torch.device, ("cpu", "cuda") if there else ("cpu",)))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"the operator is verified on cpu or cuda, not on {name!r}")
    if device.type == "cuda" and (not there or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"PyTorch finds no GPU {name}", Remedy(Action.CHOOSE_DEVICE, name))
    return (device,)


def kernels_of(device: torch.device) -> tuple[str, ...]:
    """What is verified on a device: every instruction set of the processor, or both kinds of CUDA kernels.

    None where there is no kernel.
    """
    if not library.has_kernel(device.type):
        return ()
    return library.supported_instruction_sets() if device.type == "cpu" else (COLUMNS, FUSED)


def verify(device: torch.device) -> Iterator[Finding]:
    """Makes all checks of a device, one after the other."""
    kernels = kernels_of(device)
    if not kernels:
        yield _without_kernels(device)
        return

    # One process for all instruction sets: most of its time is PyTorch's import.
    @functools.lru_cache(maxsize=1)
    def answers() -> dict[str, dict[str, str]]:
        return repetition.digests_elsewhere(device, kernels)

    best = library.instruction_set() if device.type == "cpu" else FUSED
    for name in kernels:
        with exact_products(), repetition.computed_by(name):
            for check in _checks(device, everything=name == best):
                yield find(name, check.name, check.compared, check.make)
            yield find(
                name,
                "the same bits in another process",
                "digests of values and gradients",
                functools.partial(elsewhere, device, name, answers),
            )


def summary(findings: Sequence[Finding]) -> Summary:
    """What the findings mean together."""
    failed = [finding for finding in findings if finding.verdict == "no"]
    if not failed:
        left = [finding for finding in findings if finding.verdict == "note"]
        beside = f"; {len(left)} could not be made here" if left else ""
        count = len(findings) - len(left)
        return Summary(
            True,
            f"All {count} checks passed{beside}: the compiled operator computes here what the reference does.",
        )
    if any(finding.name == _WITHOUT for finding in failed):
        return Summary(
            False,
            "Nothing was verified, for there is no compiled operator: what is computed is the reference itself, which "
            "is right and many times slower. Build the operator, then verify again.",
        )
    wrong = tuple(dict.fromkeys(finding.kernels for finding in failed))
    good = [name for name in dict.fromkeys(finding.kernels for finding in findings) if name not in wrong]
    sets = [name for name in reversed(library.INSTRUCTION_SETS) if name in good]
    if set(wrong) <= set(library.INSTRUCTION_SETS) and sets:
        meanwhile = f" Until then, {library.CHOICE}={sets[0]} in the environment avoids them on the CPU."
    elif wrong == (FUSED,):
        meanwhile = f" Until then, {library.CUDA_CHOICE}={COLUMNS} in the environment avoids them."
    elif COLUMNS in wrong and set(wrong) <= {COLUMNS, FUSED}:
        meanwhile = " Until then, train on the CPU."
    else:
        meanwhile = ""
    return Summary(
        False,
        f"{len(failed)} of {len(findings)} checks failed: do not trust a training with the kernels for "
        f"{', '.join(wrong)} on this machine, and report it with this whole output.{meanwhile}",
    )


_WITHOUT = "the compiled operator"


def _without_kernels(device: torch.device) -> Finding:
    status = library.status()
    error = (status.cuda_error if device.type == "cuda" else status.cpu_error) or "it was not built"
    where = f"there is none for {device.type} ({error}): what runs here is plain PyTorch, the reference itself"
    return Finding(device.type, _WITHOUT, "nothing", "no", None, None, where, 0.0)


def _checks(device: torch.device, *, everything: bool) -> Iterator[Check]:
    yield from parity_checks(device)
    yield from value_checks(device)
    yield from autocast_checks(device)
    if device.type == "cuda":
        yield from cuda_checks(device)
    if everything:
        # The graph calls the same kernels, whichever these are; a compiler takes its time.
        yield from compile_checks(device)
    yield repeated_check(device)
