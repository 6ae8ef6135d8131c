"""`acu bench render`."""

from __future__ import annotations

from typing import Annotated

import typer

from acu_cli import terminal


def bench_render(
    rounds: Annotated[int, typer.Option(min=2, max=100_000, help="Rounds that count, each in a new random order.")] = 3,
    frames: Annotated[int, typer.Option(min=2, max=10_000, help="Frames of the animation.")] = 200,
    matplotlib_frames: Annotated[
        int,
        typer.Option(min=2, max=10_000, help="Frames that FuncAnimation draws a round; its time is scaled by them."),
    ] = 20,
    iterations: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of the run that is opened.")] = 64_000,
    layers: Annotated[int, typer.Option(min=1, max=1000, help="Of the run that is opened.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time drawing a GIF beside Matplotlib's FuncAnimation, and opening a long run, on made-up runs."""
    from dataclasses import asdict

    from acu_core.bench import render_bench
    from acu_core.errors import UserError

    if matplotlib_frames > frames:
        raise UserError(f"there are {frames} frames: FuncAnimation cannot draw {matplotlib_frames} of them")
    machine = render_bench.machine()
    # No bar: it has a thread, beside which drawing takes one core alone.
    terminal.note("Drawing ...")
    drawing = render_bench.measure_drawing(
        frames=frames,
        matplotlib_frames=matplotlib_frames,
        rounds=rounds,
        progress=lambda done: terminal.note(f"round {done} of {rounds}"),
    )
    terminal.note("Opening ...")
    opening = render_bench.measure_opening(iterations=iterations, layers=layers, rounds=rounds)
    peaks = {count: render_bench.peak_of_drawing(count) for count in (max(2, frames // 4), frames)}
    if json:
        figures = {"drawing": asdict(drawing), "opening": asdict(opening), "peak_bytes": peaks}
        terminal.json({"machine": machine, "iterations": iterations, "layer_count": layers, **figures})
        return
    drawn = f"{frames} frames, {render_bench.LAYERS} layers, {render_bench.WIDTH} pixels, GIF"
    by_matplotlib = "FuncAnimation, PillowWriter"
    if matplotlib_frames < frames:
        by_matplotlib += f" ({matplotlib_frames} frames, times {frames / matplotlib_frames:g})"
    terminal.table(
        ["what", "how", "seconds", "spread", "ratio"],
        [
            [drawn, "acu animate-shapes", f"{drawing.ours.median:.2f}", f"{drawing.ours.spread:.2f}", "1"],
            [
                drawn,
                by_matplotlib,
                f"{drawing.matplotlib.median:.2f}",
                f"{drawing.matplotlib.spread:.2f}",
                f"{drawing.ratio:.1f}",
            ],
            [f"{iterations} iterations, {layers} layers", "open", f"{opening.median:.2f}", f"{opening.spread:.2f}", ""],
        ],
        title=", ".join(f"{name} {value}" for name, value in machine.items()),
    )
    terminal.print(
        f"Medians of {rounds} rounds in random order; spread between the quartiles. Both files show the same frames. "
        + "Memory beyond what the process had: "
        + ", ".join(f"{peak / 2**20:.0f} MiB for {count} frames" for count, peak in peaks.items())
        + "."
    )
