"""What to type about an error: the library says what would help, this file says it in the words of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acu_cli.processes.commands import go_on_command
from acu_cli.shell_words import quoted

if TYPE_CHECKING:
    from acu_core.errors import Remedy


def worded(message: str, remedies: tuple[Remedy, ...]) -> str:
    """`message` with what to type after it."""
    if not remedies:
        return message
    return f"{message.removesuffix('.')}: {', or '.join(wordings(remedies))}"


def wordings(remedies: tuple[Remedy, ...]) -> list[str]:
    """What to type, one text a remedy."""
    return [_wording(remedy) for remedy in remedies]


def _wording(remedy: Remedy) -> str:
    from acu_core.errors import Action

    subject = quoted(remedy.subject)
    return {
        Action.RESUME: f"go on with it by `{go_on_command(remedy.subject)}`",
        Action.EXTEND: f"extend it by `acu train --resume {subject} --set schedule.iterations=N`",
        Action.CHANGE: f"change that of it by `acu train --resume {subject} --set KEY=VALUE`",
        Action.TRAIN: f"train it first (`acu train {subject}`)",
        Action.ROUND: f"use `acu round-and-finetune {subject}`",
        Action.START_ANEW: f"delete {subject} and start it again with --out {subject}",
        Action.CHOOSE_OUT: "choose another directory by --out",
        Action.NAME_DATA: "give its path by --data or in the environment variable ACU_DATA",
        Action.DOWNLOAD: "give its path by --data or in the environment variable ACU_DATA, or add --download",
        Action.CHOOSE_DEVICE: "use --device cpu, and see `acu doctor`",
        Action.LIST_RECIPES: "`acu recipes` lists the built-in ones",
        Action.CHECK_INSTALLATION: "`acu doctor` says what is missing",
        Action.SAY_ITERATION: "give --iteration, once for each file",
        Action.SAY_ITERATIONS: "give --iterations",
        Action.SET_KEY: f"give --set {subject}=VALUE",
        Action.SKIP_BROKEN: "add --set data.options.skip_broken=true to leave such images out",
        Action.SAME_DATA: "give the same --data as then",
        Action.SAME_SCALE: "give the same --scale as then",
        Action.DRAW_FILE: f"`acu animate-shapes {subject}` draws it",
        Action.DRAW_SHAPES: "draw the shapes by --view shapes",
        Action.SHORTEN: f"draw the part before that with --to {subject}",
    }[remedy.action]
