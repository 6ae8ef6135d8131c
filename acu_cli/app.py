"""The `acu` command: registers the commands and turns errors into one sentence and an exit status."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from typing import Annotated, Any, NoReturn

import typer

from acu_cli import json_report, terminal
from acu_cli.commands import (
    animate_shapes,
    bench,
    compare,
    doctor,
    evaluate,
    export,
    import_caffe,
    plan,
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
from acu_cli.processes.member import Member
from acu_cli.processes.messages import Ending
from acu_cli.remedies import worded, wordings

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
app.command("plan", epilog="Example: acu plan cifar10-plain-acu --data cifar10.npz")(plan.plan)
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
    _show_notices()
    rejoin_words()
    member = Member.here()
    if member is not None:
        member.begin()
    words = sys.argv[1:]
    as_json = json_report.is_wanted(words)
    terminal.expect_json(json_report.command_of(app, words) if as_json else "")
    try:
        _main(words, as_json, member)
    except SystemExit as end:
        if as_json:
            json_report.conclude(end.code)
        if member is None:
            raise
        member.end(Ending(end.code if isinstance(end.code, int) else int(end.code is not None)))


def _show_notices() -> None:
    """From now on a `Notice` is a warning as all others are; Python's own stay as they are."""
    otherwise = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        # One that nobody can have raised without it is there already.
        errors = sys.modules.get("acu_core.errors")
        if errors is not None and issubclass(category, errors.Notice):
            terminal.warning(str(message))
        else:
            otherwise(message, category, *where, **options)

    warnings.showwarning = show


def _main(words: list[str], as_json: bool, member: Member | None) -> None:
    if any(re.fullmatch(r"|--?[a-z-]+=", word) for word in words):
        # The mistake of a script whose variable is not set: an empty path would be the current directory.
        _fail(member, "an argument is empty: leave it out, or give it a value", 2)
    try:
        json_report.run(app) if as_json else app()
    except Exception as error:
        _end_by(error, member)


def _end_by(error: Exception, member: Member | None) -> NoReturn:
    # Imported here: a successful `acu --help` must not pay for acu_core.
    from acu_core.errors import UserError

    # Not imported: where no process has met another one, PyTorch may not be there yet.
    met = sys.modules.get("acu_core.learn.processes")
    if member is not None and met is not None and isinstance(error, met.AnotherFailedError):
        member.end(Ending(1))
    if member is not None and met is not None and isinstance(error, met.LostProcessError):
        member.end(Ending(1, str(error), lost=True))
    if isinstance(error, UserError):
        message, remedies = str(error), error.remedies
        text = worded(message, remedies)
        if member is not None:
            member.end(Ending(2, text, message=message, remedies=wordings(remedies)))
        terminal.error(text, message=message, remedies=wordings(remedies))
        sys.exit(2)
    if _is_short_of_memory(error):
        reason = str(error).splitlines()[0] if str(error) else "the system gives no more"
        text = f"memory is short ({reason[:200]}): try smaller batches, smaller images or a smaller network"
        _fail(member, text, 1)
    if isinstance(error, OSError):
        # A full disk or a missing permission is not a bug of ours, and a traceback would hide which file it was.
        name = f": {error.filename}" if error.filename else ""
        _fail(member, f"{error.strerror or error}{name}", 1)
    if member is None:
        raise error
    member.end(Ending(1, "".join(traceback.format_exception(error)).rstrip(), is_traceback=True))


def _fail(member: Member | None, text: str, status: int) -> NoReturn:
    if member is not None:
        member.end(Ending(status, text))
    terminal.error(text)
    sys.exit(status)


def _is_short_of_memory(error: Exception) -> bool:
    # PyTorch has a class for it on GPUs only; and a size that no number holds is beyond any memory.
    said = ("allocate memory", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    )


if __name__ == "__main__":
    main()
