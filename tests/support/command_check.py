"""Whether commands would be understood, without running them: what `tests/gpu_day.sh --dry` asks.

A program must be there, `acu` must know the command and every option of it, and pytest must find tests. What only a
machine with a GPU has (nvidia-smi, compute-sanitizer) may be missing: that is said, and no mistake.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ON_A_GPU_ONLY = ("nvidia-smi", "compute-sanitizer")
# compute-sanitizer's own options, each with a value.
SANITIZER = ("--tool", "--error-exitcode", "--kernel-name")


class CommandError(Exception):
    """A command that would fail at once; the message says why."""


def check(words: Sequence[str]) -> list[str]:
    """Notes about a command. Raises CommandError where it would not be understood."""
    words, notes = list(words), []
    if words[0] == "env":
        words = words[1:]
        while re.match(r"[A-Z_0-9]+=", words[0]):
            words = words[1:]
    program, *rest = words
    if shutil.which(program) is None:
        if program not in ON_A_GPU_ONLY:
            raise CommandError(f"there is no program {program}")
        notes.append(f"{program} is not on this machine")
    if program == "compute-sanitizer":
        while rest and rest[0].startswith("--"):
            if rest[0] not in SANITIZER:
                raise CommandError(f"compute-sanitizer's option {rest[0]} is not known here")
            rest = rest[2:]
        return notes + check(rest)
    if rest[:2] == ["-m", "acu_cli"]:
        _check_acu(rest[2:])
    elif rest[:2] == ["-m", "pytest"]:
        count = _collected(rest[2:])
        notes.append(f"{count} test" if count == 1 else f"{count} tests")
    elif program == "bash":
        _check_python(rest[1])
    return notes


def _check_acu(words: list[str]) -> None:
    from typer.main import get_command

    from acu_cli.app import app

    command, name = get_command(app), "acu"
    try:
        while hasattr(command, "commands"):
            name, *words = words
            command = command.commands[name]
        context = command.make_context(name, list(words))
        recipe, changes = context.params.get("recipe"), context.params.get("overrides")
        if isinstance(recipe, str):
            from acu_core.recipe.recipe_file import load_recipe

            load_recipe(recipe, list(changes or []))
    except KeyError:
        raise CommandError(f"acu has no command {name}") from None
    except Exception as error:
        raise CommandError(f"acu does not take it: {getattr(error, 'message', None) or error}") from error


def _collected(words: list[str]) -> int:
    import pytest

    class Count:
        found = 0

        def pytest_collection_finish(self, session: pytest.Session) -> None:
            self.found = len(session.items)

    count, said = Count(), io.StringIO()
    with contextlib.redirect_stdout(said):
        status = pytest.main([*words, "--collect-only"], plugins=[count])
    if status != 0 or not count.found:
        lines = said.getvalue().strip().splitlines() or ["nothing said"]
        raise CommandError(f"pytest finds no tests: {lines[-1]}")
    return count.found


def _check_python(script: str) -> None:
    for code in re.findall(r"-c '([^']*)'", script):
        compile(code, "-c", "exec")


def _pieces(path: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    fields = iter(path.read_text().split("\0")[:-1])
    for name in fields:
        limit, title, count = next(fields), next(fields), int(next(fields))
        yield name, limit, title, [next(fields) for _ in range(count)]


def main() -> int:
    """Prints one line for every piece of the plan that the command line names; returns the exit status."""
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    wrong, total = 0, 0
    for name, limit, title, words in _pieces(Path(sys.argv[1])):
        try:
            notes, verdict = check(words), "ok"
        except CommandError as error:
            notes, verdict, wrong = [str(error)], "no", wrong + 1
        total += 1
        told = f" ({'; '.join(notes)})" if notes else ""
        sys.stdout.write(f"{verdict:<3} {name:<24} {limit:>4} s  {title}{told}\n      {shlex.join(words)}\n")
        if int(limit) >= 600:
            sys.stdout.write(f"no  {name}: {limit} s is not under ten minutes\n")
            wrong += 1
    sys.stdout.write(f"{total} pieces, {wrong} wrong; nothing was run\n")
    return int(wrong > 0 or total == 0)


if __name__ == "__main__":
    sys.exit(main())
