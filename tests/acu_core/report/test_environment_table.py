from __future__ import annotations

from acu_core.report.environment_table import environment_rows


def test_names_are_words_and_values_are_texts() -> None:
    rows = environment_rows(
        {
            "memory_format": "channels_last",
            "compile": False,
            "versions": {"torch": "2.10", "cuda": None},
            "imported": {"files": [{"name": "a", "iteration": 1}, {"name": "b", "iteration": 2}]},
            "numbers": [1, 2],
            "nothing": {},
        }
    )
    assert rows == [
        ("memory format", "channels_last"),
        ("compile", "no"),
        ("versions: torch", "2.10"),
        ("versions: cuda", "none"),
        ("imported: files 1: name", "a"),
        ("imported: files 1: iteration", "1"),
        ("imported: files 2: name", "b"),
        ("imported: files 2: iteration", "2"),
        ("numbers", "1, 2"),
        ("nothing", "{}"),
    ]
