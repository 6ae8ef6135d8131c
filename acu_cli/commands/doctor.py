"""`acu doctor`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from acu_cli import terminal

if TYPE_CHECKING:
    from acu_core.diagnosis import Verdict
    from acu_core.verify.finding import Finding


def doctor(
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Also compare the compiled operator with the reference, for about a minute."),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="With --verify: cpu or cuda. Default: the CPU, and the GPU where there is one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Check this installation: one verdict a question, and what to do; exit status 1 if something is broken.

    With --verify, the operator is checked on this machine: every kernel that it has, in every dtype and layout.
    """
    from acu_core.diagnosis import diagnose
    from acu_core.errors import UserError

    if device is not None and not verify:
        raise UserError("--device says what to verify: give it with --verify")
    verdicts = diagnose()
    if not json:
        for verdict in verdicts:
            terminal.print(f"{verdict.verdict:<5} {verdict.question:<38} {verdict.answer}")
    broken = any(verdict.verdict == "no" for verdict in verdicts)
    if verify:
        broken = not _verify(device, verdicts, as_json=json) or broken
    elif json:
        terminal.json({"verdicts": [verdict.__dict__ for verdict in verdicts]})
    if broken:
        raise typer.Exit(1)


def _verify(device: str | None, verdicts: list[Verdict], *, as_json: bool) -> bool:
    """Prints what is found, a line as soon as it is; returns whether nothing is wrong."""
    try:
        import torch  # noqa: F401
    except Exception:
        # The verdicts have said it, and what to do.
        if as_json:
            terminal.json({"verdicts": [verdict.__dict__ for verdict in verdicts]})
        return False
    from acu_core.verify.verification import devices, summary, verify

    begun, findings = time.perf_counter(), []
    for place in devices(device):
        for finding in verify(place):
            findings.append(finding)
            if not as_json:
                terminal.print(_line(finding))
    end, seconds = summary(findings), time.perf_counter() - begun
    if as_json:
        terminal.json(
            {
                "verdicts": [verdict.__dict__ for verdict in verdicts],
                "findings": [finding.__dict__ for finding in findings],
                "passed": end.passed,
                "summary": end.sentence,
                "seconds": seconds,
            }
        )
    else:
        terminal.print(f"{end.sentence} ({terminal.duration(seconds)})")
    return end.passed


def _line(finding: Finding) -> str:
    if finding.allowed is None:
        figures = "-"
    elif finding.error is None:
        figures = "not finite"
    elif finding.allowed == 0:
        figures = f"{finding.error:.0f} of 0"
    else:
        figures = f"{finding.error:.1e} of {finding.allowed:.1e}"
    shown = f"{finding.verdict:<5} {finding.kernels:<8} {finding.name:<32} {figures:<18} {finding.seconds:5.1f} s"
    about = finding.compared if finding.verdict == "ok" else f"{finding.compared}: {finding.where}"
    return f"{shown}  {about}"
