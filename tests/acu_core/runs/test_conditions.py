from __future__ import annotations

from acu_core.runs.conditions import DATA, conditions


def test_what_decides_the_bits() -> None:
    environment = {
        "threads": 2,
        "workers": 4,
        "device": "cpu",
        "data": {"source": "/somewhere", "fingerprint": {"data": "a"}},
        "operator": {"compiled": True, "instruction_set": "avx2"},
        "versions": {"acu": "0.1.0", "python": "3.11", "torch": "2.10", "cuda": None},
    }
    found = conditions(environment)
    assert found["threads"] == 2
    assert found[DATA] == {"data": "a"}
    assert found["operator instruction_set"] == "avx2"
    assert found["versions torch"] == "2.10"
    # What an environment does not say is the same as that of another that does not.
    assert found["processor"] is None
    assert found["versions numpy"] is None
    # Where the data lay, and what only decodes them, decide no bit.
    assert not {"workers", "data source", "versions python"} & set(found)
    assert set(conditions({})) == set(found)


def test_environments_of_before_there_were_precisions_are_of_float32() -> None:
    earlier = conditions({})
    switches = {"convolutions": "ieee", "products": "ieee", "reduced_precision_sums": False, "evaluation": "float32"}
    assert conditions({"precision": "float32", "arithmetic": switches}) == earlier
    other = conditions({"precision": "tf32", "arithmetic": {**switches, "products": "tf32"}})
    assert {name for name in other if other[name] != earlier[name]} == {"precision", "arithmetic products"}
