"""Recipe keys after --set, as bash and zsh ask for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = (
    "import sys; sys.argv[0] = 'acu'\nfrom acu_cli.app import main\n"
    "try: main()\nfinally: sys.stderr.write(' '.join({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
)


def offered(line: str, shell: str = "bash") -> list[str]:
    """What is offered at the end of a line; nothing heavy was imported for it."""
    # bash takes "=" for a word of its own.
    words = line.replace("=", " = ").split(" ")
    words = [word for word in words[:-1] if word] + [words[-1]]
    if len(words) > 1 and words[-2:] == ["=", ""] and not line.endswith(" "):
        words.pop()
    environment = {**os.environ, "_ACU_COMPLETE": f"complete_{shell}"}
    environment |= {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("acu train --set schedule.it", ["schedule.iterations="]),
        ("acu train cifar10-plain-acu --set network.options.last", ["last_kernel=", "last_dilation="]),
        ("acu train --set network.name=plain --set network.options.last_k", ["last_kernel="]),
        ("acu train no-such-recipe --set network.un", ["network.unit="]),
        ("acu train --set machine.memory_format=", ["contiguous", "channels_last"]),
        ("acu train --set machine.memory_format=ch", ["channels_last"]),
        ("acu train --set compare_frozen=t", ["true"]),
        ("acu train --set schedule.iterations=", []),
        ("acu train --set schedule.iterations=5 plan", ["planted"]),
        ("acu sweep planted --over network.u", ["network.unit="]),
        ("acu sweep planted --over seed=1 --set network.unit=", ["acu", "convolution"]),
    ],
)
def test_what_bash_is_offered(line: str, expected: list[str]) -> None:
    found = offered(line)
    assert len(found) == len(expected)
    assert all(found.endswith(end) for found, end in zip(found, expected, strict=True))


def test_bash_replaces_what_follows_the_equals_sign_only() -> None:
    assert offered("acu train --set machine.memory_format=ch") == ["channels_last"]


def test_zsh_replaces_the_whole_word() -> None:
    assert "machine.memory_format=channels_last" in " ".join(offered("acu train --set machine.memory_format=ch", "zsh"))


def test_every_set_is_completed() -> None:
    import typer

    from acu_cli.app import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            if "--set" in parameter.opts:
                assert parameter._custom_shell_complete is not None, name
