"""What the library says names no option and no command: it gives remedies, and the command line words them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from acu_cli.app import app
from acu_cli.remedies import worded
from acu_core.errors import Action, Remedy

LIBRARY = Path(__file__).parent.parent / "acu_core"
SPEAKS_TO_PIP = LIBRARY / "op" / "build.py"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def commands() -> dict[str, Any]:
    """Every command of `acu` by its words."""

    def walk(command: Any, words: tuple[str, ...]) -> dict[str, Any]:
        found = {" ".join(words): command}
        for name, inner in getattr(command, "commands", {}).items():
            found |= walk(inner, (*words, name))
        return found

    return walk(typer.main.get_command(app), ("acu",))


def options() -> set[str]:
    """Every option of every command."""
    return {option for command in commands().values() for parameter in command.params for option in parameter.opts} - {
        "--help"
    }


FIRST_WORDS = sorted({words.split()[1] for words in commands() if " " in words})
COMMAND = re.compile(rf"(?<![\w.])acu (?:{'|'.join(FIRST_WORDS)})\b|`acu\b")


def texts(source: str) -> list[tuple[int, str]]:
    """Line and text of every string in Python source that is no docstring; the pieces of an f-string are each one."""
    tree = ast.parse(source)
    # An expression that is nothing but a string does nothing: a docstring, of an attribute too.
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def speaks_command_line(text: str) -> bool:
    return bool(OPTION.search(text) or COMMAND.search(text))


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(LIBRARY.rglob("*.py")) if path != SPEAKS_TO_PIP],
    ids=lambda path: str(path.relative_to(LIBRARY)),
)
def test_no_text_of_the_library_names_an_option_or_a_command(path: Path) -> None:
    found = [f"{path}:{line}: {text!r}" for line, text in texts(path.read_text()) if speaks_command_line(text)]
    assert not found, "\n".join(found)


def test_the_test_finds_what_it_looks_for() -> None:
    source = 'def f():\n    """As --data says."""\n    raise ValueError(f"no {x}: --data", "acu train x", "`acu`")\n'
    found = [text for _, text in texts(source) if speaks_command_line(text)]
    assert sorted(found) == [": --data", "`acu`", "acu train x"]
    assert not speaks_command_line("not what acu wrote -- it is damaged")


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_every_action_is_worded_by_what_can_be_typed(action: Action) -> None:
    text = worded("Something is wrong.", (Remedy(action, "a subject"),))
    assert text.startswith("Something is wrong: ")
    assert re.fullmatch(r"[^\n]{10,200}[^.\s]", text.removeprefix("Something is wrong: "))
    named_options = set(OPTION.findall(text))
    # As far as the words of a command go: its arguments follow.
    named_commands = set(re.findall(r"`(acu(?: [a-z][a-z-]+)+)", text))
    assert named_options or named_commands, text
    assert named_options <= options(), text
    assert named_commands <= set(commands()), text


def test_several_remedies_are_one_sentence() -> None:
    text = worded("x holds a run already", (Remedy(Action.RESUME, "my run"), Remedy(Action.CHOOSE_OUT, "my run")))
    assert text == (
        "x holds a run already: go on with it by `acu train --resume 'my run'`, or choose another directory by --out"
    )
    assert worded("x is missing", ()) == "x is missing"
