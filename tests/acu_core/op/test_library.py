"""Which of the CPU kernels are used, and who may say so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from acu_core.op import library

PROGRAM = "from acu_core.op import library; print(library.instruction_set(), library.status().revision)"


def with_choice(choice: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, library.CHOICE: choice}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", library.supported_instruction_sets())
def test_the_environment_chooses(name: str) -> None:
    answer = with_choice(name)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == [name, str(library._REVISIONS[name])]


@pytest.mark.parametrize("name", ["", "AVX2", "sse9"])
def test_what_is_no_instruction_set_is_refused(name: str) -> None:
    answer = with_choice(name)
    assert answer.returncode != 0
    assert f"{library.CHOICE} is {name!r}: it must be one of baseline, avx2, avx512, amx" in answer.stderr


def test_the_command_says_so_in_one_sentence() -> None:
    environment = {**os.environ, library.CHOICE: "sse9"}
    answer = subprocess.run(
        [sys.executable, "-m", "acu_cli", "train", "--set", "schedule.iterations=1"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert "it must be one of baseline" in answer.stderr


def test_a_block_leaves_the_choice_as_it_was() -> None:
    before = library.instruction_set()
    with library.with_instruction_set("baseline"):
        assert library.instruction_set() == "baseline"
    assert library.instruction_set() == before


def test_libraries_of_other_sources_are_said_to_be_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_load", lambda name: None)
    monkeypatch.setattr(library, "_NEWEST", "an_operator_of_tomorrow")
    errors = library._load_all()
    assert errors == (library._STALE, library._STALE)
    assert "build it again" in library._STALE
