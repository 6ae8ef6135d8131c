from __future__ import annotations

import json
from pathlib import Path

import annotated_types
import pytest

from acu_core.errors import UserError
from acu_core.recipe.schema import Machine
from acu_core.runs.environment_file import BOUNDS, LONGEST_PATH, decode_environment
from acu_core.runs.run_directory import RunDirectory

PATH = Path("run/environment.json")


@pytest.mark.parametrize(
    ("key", "value", "bounds"),
    [
        ("threads", 0, "1 to 1024"),
        ("threads", 1025, "1 to 1024"),
        ("threads", 100_000, "1 to 1024"),
        ("threads", 10**30, "1 to 1024"),
        ("workers", -1, "0 to 256"),
        ("workers", 257, "0 to 256"),
    ],
)
def test_numbers_that_no_machine_has_are_refused(key: str, value: int, bounds: str) -> None:
    with pytest.raises(UserError) as caught:
        decode_environment(json.dumps({key: value}), PATH)
    assert str(caught.value) == f"run/environment.json is damaged: {key} is not a whole number from {bounds}"


def test_the_bounds_are_those_of_a_recipe() -> None:
    # How many processes train is said when they are started.
    assert set(BOUNDS) - set(Machine.model_fields) == {"processes"}
    for key in set(BOUNDS) & set(Machine.model_fields):
        least, most = BOUNDS[key]
        metadata = Machine.model_fields[key].metadata
        (lower,) = (entry.ge for entry in metadata if isinstance(entry, annotated_types.Ge))
        (upper,) = (entry.le for entry in metadata if isinstance(entry, annotated_types.Le))
        assert (least, most) == (1 if key == "threads" else lower, upper)
        for value in (least, most):
            assert decode_environment(json.dumps({key: value}), PATH) == {key: value}


@pytest.mark.parametrize("source", ["x" * 5000, 3, None, ["a"]])
def test_what_is_no_path_is_not_written_out(source: object) -> None:
    with pytest.raises(UserError) as caught:
        decode_environment(json.dumps({"data": {"source": source}}), PATH)
    expected = "run/environment.json is damaged: data.source is not a path of at most 4,096 characters"
    assert str(caught.value) == expected
    longest = {"data": {"source": "x" * LONGEST_PATH}}
    assert decode_environment(json.dumps(longest), PATH) == longest


@pytest.mark.parametrize("name", ["recipe.toml", "environment.json"])
def test_bytes_that_are_no_text_are_said_to_be_none(name: str, tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "iterations = 5\n", {})
    (run.path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(UserError) as caught:
        _ = run.recipe_toml, run.environment
    assert str(caught.value) == f"{run.path / name} cannot be read: it is not UTF-8 text"
