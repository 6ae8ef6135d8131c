"""Every extra of the package is named, with what it is for."""

from __future__ import annotations

import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from acu_core import diagnosis

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def describe(monkeypatch: pytest.MonkeyPatch, extras: dict[str, list[str]], there: dict[str, str]) -> None:
    """Lets the package's metadata name these extras, and these distributions be installed."""
    described = Message()
    for name in extras:
        described["Provides-Extra"] = name
    lines = [f'{line}; extra == "{name}"' for name, needed in extras.items() for line in needed]

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(metadata, "metadata", lambda name: described)
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2.10", *lines])
    monkeypatch.setattr(metadata, "version", version)


def verdicts() -> dict[str, diagnosis.Verdict]:
    return {verdict.question: verdict for verdict in map(diagnosis._extra, diagnosis.extras())}


def test_every_extra_of_the_project_has_a_purpose() -> None:
    assert set(PROJECT["optional-dependencies"]) == set(diagnosis.PURPOSES)


def test_an_extra_that_is_new_in_the_metadata_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    describe(monkeypatch, {"table": ["pandas>=2.1"], "sound": ["lib-of_sound[all]>=3"]}, {"pandas": "2.2"})
    assert verdicts()["Can shapes become pandas tables?"] == diagnosis.Verdict(
        "Can shapes become pandas tables?", "ok", "yes, pandas 2.2 (extra table)"
    )
    new = verdicts()["Is the extra sound there?"]
    assert new.verdict == "note"
    assert new.answer == "not without lib-of_sound: pip install 'active-convolution[sound]'"


def test_a_list_of_extras_is_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    describe(monkeypatch, {"dev": ["active-convolution[table]", "pytest>=8"]}, {"pytest": "9"})
    assert verdicts()["Can acu itself be worked on?"].answer == "yes, pytest 9 (extra dev)"


def test_every_extra_of_the_project_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    describe(monkeypatch, PROJECT["optional-dependencies"], {})
    asked = {verdict.question: verdict for verdict in diagnosis.diagnose()}
    for name, question in diagnosis.PURPOSES.items():
        assert asked[question].verdict == "note"
        assert f"[{name}]" in asked[question].answer
