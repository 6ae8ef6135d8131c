"""Recipe keys after --set, as bash and zsh ask for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from acu_cli.app import app

PROGRAM = """#!{python}
import sys; sys.argv[0] = 'acu'
from acu_cli.app import main
try: main()
finally: sys.stderr.write(' '.join({{'torch', 'numpy', 'matplotlib'}} & set(sys.modules)))
"""
# What bash does when Tab is pressed: its function is called, with "=" as a word of its own.
TAB = 'eval "$(_ACU_COMPLETE=source_bash acu)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
TAB += '_acu_completion acu; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `acu` is this one."""
    program = tmp_path / "acu"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


def offered(path: str, line: str) -> list[str]:
    """What bash is offered at the end of a line; nothing heavy was imported for it."""
    words = line.replace("=", " = ").split(" ")
    words = [word for word in words[:-1] if word] + words[-1:]
    if words[-2:] == ["=", ""] and not line.endswith(" "):
        words.pop()
    command = ["bash", "--norc", "-c", TAB, "bash", *words]
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("acu train --set schedule.it", ["schedule.iterations=", "schedule.iterations=1200"]),
        ("acu train --set machine.mem", ["machine.memory_format=contiguous", "machine.memory_format=channels_last"]),
        ("acu train cifar10-plain-acu --set network.options.last", ["last_kernel=", "last_dilation="]),
        ("acu train --set network.name=plain --set network.options.last_k", ["last_kernel="]),
        ("acu train no-such-recipe --set network.un", ["network.unit=acu", "network.unit=convolution"]),
        ("acu train --set machine.memory_format=", ["contiguous", "channels_last"]),
        ("acu train --set machine.memory_format=ch", ["channels_last"]),
        ("acu train --set compare_frozen=t", ["true"]),
        ("acu train --set schedule.iterations=", []),
        ("acu train --set schedule.iterations=5 plan", ["planted"]),
        ("acu sweep planted --over network.u", ["network.unit=acu", "network.unit=convolution"]),
        ("acu sweep planted --over seed=1 --set network.unit=", ["acu", "convolution"]),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_what_bash_is_offered(path: str, line: str, expected: list[str]) -> None:
    found = offered(path, line)
    assert len(found) == len(expected)
    assert all(found.endswith(end) for found, end in zip(found, expected, strict=True))


def test_bash_replaces_what_follows_the_equals_sign_only(path: str) -> None:
    assert offered(path, "acu train --set machine.memory_format=ch") == ["channels_last"]


def test_zsh_replaces_the_whole_word(path: str) -> None:
    line = "acu train --set machine.memory_format=ch"
    environment = {**os.environ, "PATH": path, "_ACU_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run(["acu"], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert '"machine.memory_format=channels_last"' in done.stdout


def test_every_set_is_completed() -> None:
    found = set()

    def look(command: Any, name: str) -> None:
        for inner, group in getattr(command, "commands", {}).items():
            look(group, f"{name} {inner}")
        for parameter in command.params:
            if "--set" in parameter.opts:
                assert parameter._custom_shell_complete is not None, name
                found.add(name)

    look(typer.main.get_command(app), "acu")
    assert found >= {"acu train", "acu sweep"}
