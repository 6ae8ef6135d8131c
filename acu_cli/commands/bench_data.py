"""`acu bench data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acu_cli import terminal


def bench_data(
    folder: Annotated[Path, typer.Argument(help="An image folder: train/<class>/ and val/<class>/.")],
    make: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Make so many images in FOLDER first, which must not be there.")
    ] = 0,
    rounds: Annotated[int, typer.Option(min=2, max=1000, help="Rounds that count; both take turns.")] = 7,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images a batch.")] = 64,
    batches: Annotated[int, typer.Option(min=1, max=10_000, help="Batches a round for each process.")] = 8,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes of each; 0: one a processor.")] = 0,
    crop: Annotated[int, typer.Option(min=1, max=4096, help="Side of the images that the network gets.")] = 224,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time reading an image folder beside PyTorch's DataLoader with the same transforms: images a second."""
    from acu_core.errors import UserError

    missing = [str(part) for part in (folder / "train", folder / "val") if not part.is_dir()]
    if missing and not make:
        raise UserError(
            f"{folder} is no image folder, for there is no {' and no '.join(missing)}: give one that holds "
            "train/<class>/ and val/<class>/, or have one made by --make 1000"
        )
    terminal.note("Starting PyTorch ...")
    from dataclasses import asdict

    import torch

    from acu_core.bench.data_bench import measure_data
    from acu_core.learn.processor import processor_name

    if make:
        from acu_core.bench.made_up_photos import make_photos

        terminal.note(f"Making {make:,} images ...")
        make_photos(folder, make)
    with terminal.progress(rounds, "timing", unit="rounds") as progress:
        found = measure_data(
            folder,
            batch=batch,
            batches_each=batches,
            rounds=rounds,
            workers=workers,
            crop=crop,
            resize=round(crop * 8 / 7),
            progress=lambda done: progress.update(done),
        )
    if json:
        machine = {"torch": torch.__version__, "processor": processor_name(), "threads": torch.get_num_threads()}
        terminal.json({"machine": machine, "crop": crop, **asdict(found)})
        return
    terminal.table(
        ["reader", "images a second", "seconds a round", "spread", "mean", "std"],
        [
            [
                name,
                f"{reading.images_a_second:,.0f}",
                f"{reading.seconds.median:.2f}",
                f"{reading.seconds.spread:.2f}",
                f"{reading.mean:.3f}",
                f"{reading.std:.3f}",
            ]
            for name, reading in (("acu", found.acu), ("DataLoader", found.data_loader))
        ],
        title=f"{_counted(found.workers, 'process', 'es')} each, {_counted(found.batches, 'batch', 'es')} of {batch}, "
        f"crops of {crop}, "
        f"{processor_name()}, torch {torch.__version__}",
    )
    terminal.print(
        f"acu is {found.ratio:.2f} times as fast (median of {rounds} rounds, {found.ratio_spread:.2f} between the "
        f"quartiles). Validation images differ by at most {found.validation_difference:.1g}."
    )


def _counted(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun}{plural if number > 1 else ''}"
