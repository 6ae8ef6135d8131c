"""The `acu` command: registers the commands and turns errors into one sentence and an exit status."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from acu_cli import terminal
from acu_cli.commands import (
    animate_shapes,
    bench,
    compare,
    doctor,
    evaluate,
    export,
    import_caffe,
    positions,
    recipes,
    report,
    reproduce,
    round_and_finetune,
    runs,
    show,
    sweep,
    tensorboard,
    train,
    watch,
)
from acu_cli.completion import rejoin_words
from acu_cli.output_streams import steady_streams
from acu_cli.remedies import worded

app = typer.Typer(
    name="acu",
    help="Train convolutional networks whose convolution shapes are learned, and watch the shapes change.",
    epilog="Example: acu train",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            version = metadata.version("active-convolution")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        terminal.print(f"acu {version}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("train", epilog="Example: acu train planted --set schedule.iterations=500 --seed 1")(train.train)
app.command("watch", epilog="Example: acu watch runs/planted-1")(watch.watch)
app.command("runs", epilog="Example: acu runs runs")(runs.runs)
app.command("show", epilog="Example: acu show runs/planted-1")(show.show)
app.command("compare", epilog="Example: acu compare runs --frozen")(compare.compare)
app.command("animate-shapes", epilog="Example: acu animate-shapes runs/planted-1 -o shapes.gif")(
    animate_shapes.animate_shapes
)
app.command("positions", epilog="Example: acu positions runs/planted-1 -o positions.csv")(positions.positions)
app.command("report", epilog="Example: acu report runs/planted-1 -o planted.html")(report.report)
app.command("tensorboard", epilog="Example: acu tensorboard runs -o events --follow")(tensorboard.tensorboard)
app.command("round-and-finetune", epilog="Example: acu round-and-finetune runs/planted-1")(
    round_and_finetune.round_and_finetune
)
app.command("evaluate", epilog="Example: acu evaluate runs/planted-1 --json")(evaluate.evaluate)
app.command("import-caffe", epilog="Example: acu import-caffe plain_iter_10000.caffemodel plain_iter_50000.caffemodel")(
    import_caffe.import_caffe
)
app.command("export", epilog="Example: acu export runs/planted-1 -o planted.onnx")(export.export)
app.command("reproduce", epilog="Example: acu reproduce ablation --scale 0.01 --data cifar10.npz")(reproduce.reproduce)
app.command("sweep", epilog="Example: acu sweep planted --over optimizer.learning_rate=0.1,0.05 --seeds 3")(sweep.sweep)
app.add_typer(recipes.app, name="recipes")
app.add_typer(bench.app, name="bench")
app.command("doctor", epilog="Example: acu doctor --verify")(doctor.doctor)


def main() -> None:
    """Entry point: exit status 0, 1 (something failed), 2 (the user can put it right) or 128 + a signal's number."""
    steady_streams()
    rejoin_words()
    if any(re.fullmatch(r"|--?[a-z-]+=", word) for word in sys.argv[1:]):
        # The mistake of a script whose variable is not set: an empty path would be the current directory.
        terminal.error("an argument is empty: leave it out, or give it a value")
        sys.exit(2)
    try:
        app()
    except ValueError as error:
        # Imported here: a successful `acu --help` must not pay for acu_core.
        from acu_core.errors import UserError

        if not isinstance(error, UserError):
            raise
        terminal.error(worded(str(error), error.remedies))
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not _is_short_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else "the system gives no more"
        terminal.error(f"memory is short ({reason[:200]}): try smaller batches, smaller images or a smaller network")
        sys.exit(1)
    except OSError as error:
        # A full disk or a missing permission is not a bug of ours, and a traceback would hide which file it was.
        name = f": {error.filename}" if error.filename else ""
        terminal.error(f"{error.strerror or error}{name}")
        sys.exit(1)


def _is_short_of_memory(error: Exception) -> bool:
    # PyTorch has a class for it on GPUs only; and a size that no number holds is beyond any memory.
    said = ("allocate memory", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


if __name__ == "__main__":
    main()
