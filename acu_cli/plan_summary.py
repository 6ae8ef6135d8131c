"""Prints what a training will take."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from acu_cli import terminal

if TYPE_CHECKING:
    from acu_core.forecast.plan import Plan


def show(plan: Plan) -> None:
    """Prints a plan, one screen."""
    answer = plan.answer
    threads = f"{answer.threads} thread" + ("s" if answer.threads > 1 else "")
    several = f"{plan.processes} processes, each with " if plan.processes > 1 else ""
    data = "made-up images" if plan.made_up else f"{plan.recipe.data.name} ({answer.source})"
    machine = plan.recipe.machine
    how = f", {machine.precision}" if machine.precision != "float32" else ""
    how += ", compiled" if machine.compile else ""
    title = f"{plan.recipe.name}: {answer.parameters:,} parameters, on {answer.device}, {several}{threads}{how}, {data}"
    terminal.table(["what", "each", "times", "in all"], _rows(plan), title=title)
    ends = datetime.datetime.now() + datetime.timedelta(seconds=plan.seconds)
    terminal.print(f"Begun now, it ends about {ends:%A, %d %B %Y, %H:%M}.")
    terminal.print(f"Memory: {_memory(plan)}.")
    disk = plan.disk
    terminal.print(
        f"Disk: {_size(disk.total)} in the end (checkpoints {_size(disk.checkpoints)}, positions.bin "
        f"{_size(disk.positions)}, metrics.jsonl {_size(disk.metrics)})."
    )
    for remark in remarks(plan):
        terminal.print(remark)


def remarks(plan: Plan) -> list[str]:
    """What somebody should know who reads the figures, a sentence or two each."""
    found = []
    answer, data = plan.answer, plan.recipe.data.name
    if plan.made_up:
        decoding = "" if answer.images_in_memory else " and decoding"
        found.append(
            f"{data} is not here: these are made-up images of its size. What reading{decoding} its images takes, time "
            "and memory, is not in it."
        )
    if plan.company == "here":
        found.append(
            f"These figures are of {plan.processes} processes that trained together on this machine: what they wait "
            "for one another, and take from one another, is in them."
        )
    if plan.company == "elsewhere":
        places = "GPUs" if answer.device.startswith("cuda") else "processors"
        told = (
            f"{short(plan.communication_seconds)} a step for that at {plan.bandwidth / 1e9:g} GB/s are in it, as if "
            "nothing were computed meanwhile"
            if plan.bandwidth is not None
            else "the time for that is not in it. --bandwidth GIGABYTES_A_SECOND adds it"
        )
        found.append(
            f"{plan.processes} processes are more than this machine has {places} for. So one was measured, with its "
            f"share of the batch, as if each of the {plan.processes} had a machine like this to itself. Between them "
            f"travel {_size(plan.reduced_bytes)} of gradients a step: {told}."
        )
    if plan.bandwidth is not None and plan.company != "elsewhere":
        reason = "what the processes tell one another was measured" if plan.processes > 1 else "there is one process"
        found.append(f"--bandwidth was not needed: {reason}.")
    if plan.recipe.machine.compile:
        found.append(
            "The network was compiled as if for the first time. PyTorch keeps what it compiled for a training: the "
            "next one of the same network starts sooner. It compiles in processes of its own, whose memory is not in "
            "these figures."
        )
    return found


def as_json(plan: Plan) -> dict[str, object]:
    """The same facts: seconds and bytes."""
    answer, pace, work, disk = plan.answer, plan.pace, plan.work, plan.disk
    ends = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=plan.seconds)
    return {
        "recipe": plan.recipe.name,
        "device": answer.device,
        "threads": answer.threads,
        "processes": plan.processes,
        "measured_processes": len(plan.answers),
        "data": None if plan.made_up else answer.source,
        "parameters": answer.parameters,
        "seconds": plan.seconds,
        "seconds_of": {
            "start": plan.start_seconds,
            "end": answer.end_seconds,
            "compiling": plan.compiling_seconds,
            "still_step": pace.still,
            "moving_step": pace.moving,
            "communication_of_a_step": plan.communication_seconds,
            "evaluation": pace.evaluation,
            "checkpoint": pace.checkpoint,
            "training": plan.training_seconds,
        },
        "counts": {
            "still_steps": work.still,
            "moving_steps": work.moving,
            "evaluations": work.evaluations,
            "checkpoints": work.checkpoints,
        },
        "timed_steps": {"still": answer.measured.still_timed, "moving": answer.measured.moving_timed},
        "ends_at": ends.isoformat(timespec="seconds"),
        "memory": {
            "peak_bytes": plan.peak_memory,
            "loading_bytes": max(one.memory.loading for one in plan.answers),
            "training_bytes": max(one.memory.training for one in plan.answers),
            "device_bytes": answer.memory.device,
            "decoding_processes": answer.memory.workers,
            "decoding_process_bytes": answer.memory.decoder,
        },
        "disk": {
            "total_bytes": disk.total,
            "checkpoints": disk.checkpoints,
            "positions": disk.positions,
            "metrics": disk.metrics,
            "timings": disk.timings,
            "recipe_and_environment": disk.settled,
        },
        "reduced_bytes_of_a_step": plan.reduced_bytes,
        "remarks": remarks(plan),
    }


def _rows(plan: Plan) -> list[list[str]]:
    pace, work = plan.pace, plan.work
    told = plan.communication_seconds
    both = bool(work.still and work.moving)
    steps = [
        ("step, positions still" if both else "step", pace.still, work.still),
        ("step, positions moving" if both else "step", pace.moving, work.moving),
    ]
    # Most is compiled before the first iteration, where it is tried whether the network can be trained at all.
    around = "start and end, with data and compiling" if plan.recipe.machine.compile else "start and end, with the data"
    seconds_around = plan.start_seconds + plan.compiling_seconds + plan.answer.end_seconds
    rows = [[around, "", "", terminal.duration(seconds_around)]]
    for name, seconds, count in steps:
        if count and seconds is not None:
            rows.append(_row(name, seconds + told, count))
    rows.append(_row("evaluation", pace.evaluation, work.evaluations))
    rows.append(_row("checkpoint", pace.checkpoint, work.checkpoints))
    rows.append(["in all", "", "", terminal.duration(plan.seconds)])
    return rows


def _row(name: str, seconds: float, count: int) -> list[str]:
    return [name, short(seconds), f"{count:,}", terminal.duration(seconds * count)]


def _memory(plan: Plan) -> str:
    memory = plan.answer.memory
    each = " a process" if plan.processes > 1 else ""
    words = f"{_size(plan.peak_memory)}{each} at most"
    # Less is a difference that the next plan would not show.
    if memory.loading > 1.05 * memory.training:
        words += f" while the data are loaded, {_size(memory.training)} while it trains"
    if memory.device is not None:
        words += f"; {_size(memory.device)} of the GPU's"
    if memory.workers:
        words += f"; up to {_size(memory.decoder)} in each of {memory.workers} processes that decode images"
    return words


def short(seconds: float) -> str:
    """Three digits: `3.21 ms`, `321 ms`, `3.21 s`; minutes as everywhere."""
    if seconds >= 60:
        return terminal.duration(seconds)
    value, unit = (seconds, "s") if seconds >= 0.9995 else (1e3 * seconds, "ms")
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def _size(count: int) -> str:
    """Bytes with two or three digits, in powers of 1024."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
