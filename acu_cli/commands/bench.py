"""`acu bench`: what acu does, timed side by side with what it replaces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acu_cli import terminal
from acu_cli.commands.bench_data import bench_data
from acu_cli.commands.bench_render import bench_render
from acu_cli.completion import set_keys

if TYPE_CHECKING:
    from acu_core.bench.operator_bench import OperatorRow
    from acu_core.bench.plan_bench import PlanAndTruth
    from acu_core.bench.timing import Timing

app = typer.Typer(
    help="Measure the operator, training, reading or drawing beside what they replace, plans beside what happens.",
    epilog="Example: acu bench op --rounds 31",
    no_args_is_help=True,
)

Rounds = Annotated[int, typer.Option(min=2, max=100_000, help="Rounds that count, each in a new random order.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="CPU threads of all contestants; 0: as PyTorch chooses.")]
Json = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]


def _machine(threads: int) -> dict[str, Any]:
    import platform

    import torch

    from acu_core.learn.processor import processor_name
    from acu_core.op import library

    if threads:
        torch.set_num_threads(threads)
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": processor_name() or platform.machine(),
        "instruction_set": library.status().instruction_set,
    }


def _instruction_sets(names: list[str], device: str) -> tuple[str, ...]:
    from acu_core.errors import UserError
    from acu_core.op import library

    if not names:
        return ()
    if device != "cpu":
        raise UserError("--instruction-set is about the CPU's kernels: leave it out, or use --device cpu")
    there = library.supported_instruction_sets() if library.status().cpu else ()
    if names == ["all"]:
        return there
    for name in names:
        if name not in there:
            raise UserError(f"--instruction-set must be all or one of {', '.join(there) or 'none here'}, not {name!r}")
    return tuple(dict.fromkeys(names))


def _check_device(device: str) -> None:
    import torch

    from acu_core.errors import UserError

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise UserError(f"there is no device {device!r} here; use cpu, or cuda on a machine with a GPU")


@app.command("op", epilog="Example: acu bench op --shape 64,48,48,32,32,9,1 --memory")
def bench_op(
    shape: Annotated[list[str] | None, typer.Option(help="N,C,O,H,W,K,stride; may be given several times.")] = None,
    further: Annotated[bool, typer.Option("--further", help="The shapes of other networks, too.")] = False,
    rounds: Rounds = 21,
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="Of images and weights: float32, bfloat16 or float16.")] = "float32",
    tf32: Annotated[bool, typer.Option("--tf32", help="Products and convolutions in TF32, on NVIDIA GPUs.")] = False,
    threads: Threads = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Only the operator and the convolution.")] = False,
    on_grid: Annotated[bool, typer.Option("--on-grid", help="Integer positions, as a training starts.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Peak memory too, in fresh processes.")] = False,
    instruction_set: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the CPU kernels: baseline, avx2, avx512, amx, or all of the machine; may be given several times.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Time forward and backward of the operator beside conv2d, the dense kernel, deform_conv2d and DCLS."""
    terminal.note("Starting PyTorch ...")
    import torch

    from acu_core.bench.contestants import FURTHER_SHAPES, SHAPES, Shape, left_out
    from acu_core.bench.operator_bench import measure_operator
    from acu_core.errors import UserError

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in dtypes:
        raise UserError(f"--dtype must be one of {', '.join(dtypes)}, not {dtype!r}")
    _check_device(device)
    shapes = [Shape.parse(text) for text in shape or []] or [*SHAPES, *(FURTHER_SHAPES if further else ())]
    machine = _machine(threads)
    chosen = _instruction_sets(instruction_set or [], device)
    if chosen:
        machine["instruction_set"] = ", ".join(chosen)
    if not quick:
        for sentence in left_out(device, dtypes[dtype]):
            terminal.warning(sentence)
    rows: list[OperatorRow] = []
    with terminal.progress(len(shapes) * rounds, "timing", unit="rounds") as progress:
        for number, one in enumerate(shapes):
            progress.describe(f"timing {one}")
            rows += measure_operator(
                one,
                rounds=rounds,
                device=device,
                dtype=dtypes[dtype],
                tf32=tf32,
                slow=not quick,
                on_grid=on_grid,
                memory=memory,
                instruction_sets=chosen,
                progress=lambda done, total, number=number: progress.update(number * total + done),  # type: ignore[misc]
            )
    if json:
        head = {"machine": machine, "device": device, "dtype": dtype, "tf32": tf32}
        terminal.json({**head, "rows": [_as_json(row) for row in rows]})
        return
    title = (
        f"{'TF32' if tf32 else dtype} on {device}, {machine['processor']}, {machine['threads']} threads, "
        f"{machine['instruction_set']}, torch {machine['torch']}"
    )
    replayed = any(row.both_replayed is not None for row in rows)
    columns = ["shape", "contestant", "fwd + bwd ms", "spread", "ratio", "forward ms", "ratio"]
    columns += ["kernels ms", "spread", "ratio", "forward ms", "ratio"] if replayed else []
    columns += ["peak MiB"] if memory else []
    terminal.table(columns, [_as_cells(row, memory, replayed) for row in rows], title=title)
    terminal.print(
        f"Medians of {rounds} rounds in random order; spread between the quartiles; ratio to the faster conv2d. "
        "Gradients of input and weight; of acu and dense kernel also of the positions."
    )
    if replayed:
        terminal.print(
            "Left: a call as a program makes it, by the GPU's clock; a small one takes as long as its launches. "
            "Right, from `kernels`: the same replayed as a graph, over and over, so that only the kernels are timed."
        )


def _as_cells(row: OperatorRow, memory: bool, replayed: bool) -> list[str]:
    cells = [
        str(row.shape),
        row.contestant,
        f"{1e3 * row.both.median:.2f}",
        f"{1e3 * row.both.spread:.2f}",
        f"{row.ratio:.2f}",
        f"{1e3 * row.forward.median:.2f}",
        f"{row.forward_ratio:.2f}",
    ]
    if replayed:
        both, forward = row.both_replayed, row.forward_replayed
        cells += ["", "", ""] if both is None else [*_milliseconds(both), f"{row.replayed_ratio:.2f}"]
        cells += ["", ""] if forward is None else [_milliseconds(forward)[0], f"{row.forward_replayed_ratio:.2f}"]
    if memory:
        cells.append("" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.1f}")
    return cells


def _milliseconds(timing: Timing) -> list[str]:
    return [f"{1e3 * timing.median:.3f}", f"{1e3 * timing.spread:.3f}"]


def _as_json(row: OperatorRow) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)


@app.command("train", epilog="Example: acu bench train --rounds 31")
def bench_train(
    rounds: Rounds = 21,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Images a step.")] = 64,
    device: Device = "cpu",
    threads: Threads = 0,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="As machine.precision in a recipe; may be given several times.", show_default="float32"),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Also with machine.compile, side by side.")] = False,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Also with machine.cuda_graph, side by side (CUDA only).")
    ] = False,
    json: Json = False,
) -> None:
    """Time whole training steps of cifar10-plain-acu beside cifar10-plain-base: what `acu train` does an iteration.

    And what it takes to record the shapes of one iteration, as `acu_core.ShapeRecorder` does in any training loop.
    """
    terminal.note("Starting PyTorch ...")
    import torch

    from acu_core.bench.training_bench import RECORDING, measure_training, recipes_to_time
    from acu_core.errors import UserError
    from acu_core.learn.arithmetic import refuse_missing_precision
    from acu_core.learn.compilation import refuse_missing_compiler

    _check_device(device)
    machine = _machine(threads)
    precisions = tuple(dict.fromkeys(precision or ["float32"]))
    if cuda_graph and not device.startswith("cuda"):
        raise UserError("--cuda-graph needs a GPU: leave it out, or use --device cuda")
    recipes = recipes_to_time(
        batch=batch,
        device=device,
        precisions=precisions,
        compiled=(False, True) if compiled else (False,),
        graphs=(False, True) if cuda_graph else (False,),
    )
    for recipe in recipes:
        refuse_missing_precision(recipe, torch.device(device))
        refuse_missing_compiler(recipe, torch.device(device))
    names = [recipe.name for recipe in recipes]
    layouts = {recipe.machine.memory_format for recipe in recipes}
    if len(layouts) > 1:
        raise UserError(f"{' and '.join(names)} name two memory formats: make them one to compare")
    (layout,) = layouts
    with terminal.progress(rounds, "timing", unit="rounds") as progress:
        timings = measure_training(recipes, rounds=rounds, progress=lambda done, _: progress.update(done))
    base = timings[names[0]].median
    if json:
        found = [{"recipe": name, **timing.__dict__} for name, timing in timings.items()]
        head = {"machine": machine, "device": device, "memory_format": layout, "batch": batch}
        terminal.json({**head, "recipes": found})
        return
    terminal.table(
        ["recipe", "ms a step", "spread", "ratio"],
        [
            [name, f"{1e3 * timing.median:.1f}", f"{1e3 * timing.spread:.1f}", f"{timing.median / base:.3f}"]
            for name, timing in timings.items()
            if name != RECORDING
        ],
        title=f"batch {batch}, {layout}, {', '.join(precisions)} on {device}, {machine['processor']}, "
        f"{machine['threads']} threads, "
        f"torch {machine['torch']}",
    )
    recording = timings[RECORDING]
    share = 100 * recording.median / timings[names[-1]].median
    terminal.print(
        f"Recording an iteration's shapes: {1e3 * recording.median:.2f} ms (spread {1e3 * recording.spread:.2f}), "
        f"{share:.2f} % of a step of {names[-1]}."
    )


@app.command("plan", epilog="Example: acu bench plan --data cifar10.npz --rounds 3")
def bench_plan(
    recipe: Annotated[list[str] | None, typer.Option(help="May be given several times.", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(help="CIFAR-10, or what the recipes need.", show_default=False)] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Plans and trainings of each recipe.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Of the iterations that are trained.")] = 20.0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of every recipe.", autocompletion=set_keys),
    ] = None,
    json: Json = False,
) -> None:
    """Compare what `acu plan` says with what `acu train` then takes, for four recipes: seconds, memory, disk.

    The ratios are of what was planned to what happened: 1.00 is a plan that came true.
    """
    terminal.note("Starting PyTorch ...")
    import sys
    from dataclasses import asdict

    from acu_core.bench.plan_bench import RECIPES, compare_plan
    from acu_core.recipe.recipe_file import load_recipe

    names = list(recipe or RECIPES)
    for name in names:
        load_recipe(name, list(overrides or []))
    machine = _machine(0)
    found: list[PlanAndTruth] = []
    for number in range(rounds):
        for name in names:
            terminal.note(f"{name}, round {number + 1} of {rounds} ...")

            def command(file: Path, out: Path, name: str = name) -> list[str]:
                where = [] if data is None or load_recipe(name).data.is_made else ["--data", str(data)]
                return [sys.executable, "-m", "acu_cli", "train", str(file), "--out", str(out), *where]

            one = compare_plan(name, command, data_path=data, seconds=seconds, overrides=overrides or ())
            found.append(one)
            terminal.note("; ".join(f"{what} {ratio:.2f}" for what, ratio in one.ratios.items()))
    if json:
        terminal.json({"machine": machine, "comparisons": [{**asdict(one), "ratios": one.ratios} for one in found]})
        return
    terminal.table(
        ["recipe", "iterations", "ms a step", "evaluation s", "in all s", "memory MiB", "disk MiB"],
        [_plan_cells(one) for one in found],
        title=f"planned / happened (ratio); {machine['processor']}, {machine['threads']} threads, torch "
        f"{machine['torch']}",
    )


def _plan_cells(one: PlanAndTruth) -> list[str]:
    scales = {"iteration": 1e3, "evaluation": 1.0, "total": 1.0, "memory": 2**-20, "disk": 2**-20}
    cells = [one.recipe, str(one.iterations)]
    for what, ratio in one.ratios.items():
        planned, happened = (scales[what] * getattr(figures, what) for figures in (one.planned, one.happened))
        cells.append(f"{planned:.4g} / {happened:.4g} ({ratio:.2f})")
    return cells


@app.command("watch", epilog="Example: acu bench watch --pairs 20")
def bench_watch(
    pairs: Annotated[int, typer.Option(min=2, max=10_000, help="Pairs of stretches, with and without.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of a stretch.")] = 10.0,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Images a step.")] = 64,
    rows: Annotated[int, typer.Option(min=4, max=200, help="Of the terminal.")] = 24,
    columns: Annotated[int, typer.Option(min=20, max=500, help="Of the terminal.")] = 80,
    device: Device = "cpu",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Time a training that `acu watch` watches beside one that nobody watches: the same one, turn and turn about."""
    terminal.note("Starting PyTorch ...")
    from dataclasses import asdict

    from acu_cli.watch.measured_view import watching
    from acu_core.bench.watching_bench import measure_watching, recipe_to_watch

    _check_device(device)
    machine = _machine(threads)
    recipe = recipe_to_watch(batch=batch, device=device)
    with terminal.progress(pairs, "timing", unit="pairs") as progress:
        cost = measure_watching(
            recipe,
            lambda run: watching(run, rows=rows, columns=columns),
            pairs=pairs,
            seconds=seconds,
            progress=lambda done, _: progress.update(done),
        )
    if json:
        terminal.json({"machine": machine, "device": device, "batch": batch, **asdict(cost)})
        return
    terminal.table(
        ["training", "ms a step"],
        [["alone", f"{1e3 * cost.alone_seconds:.2f}"], ["watched", f"{1e3 * cost.watched_seconds:.2f}"]],
        title=f"{recipe.name}, batch {batch}, float32 on {device}, {machine['processor']}, {machine['threads']} "
        f"threads, torch {machine['torch']}; {columns} x {rows} characters",
    )
    terminal.print(
        f"Watched it takes {100 * cost.slower:+.2f} % time ({100 * cost.spread:.2f} % between the quartiles of {pairs} "
        f"pairs) and {100 * cost.processor_slower:+.2f} % processor time. The view itself takes "
        f"{100 * cost.watcher_processor_share:.2f} % of one processor, and writes "
        f"{cost.watcher_bytes_a_second:,.0f} bytes a second."
    )


app.command("data", epilog="Example: acu bench data photos --make 1000")(bench_data)
app.command("render", epilog="Example: acu bench render --rounds 5")(bench_render)
