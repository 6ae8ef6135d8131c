"""The table of docs/networks.md; `python tests/support/timm_families.py` makes it, large models too."""

from __future__ import annotations

import pytest
import timm_families
from timm_families import FAMILIES, PATCHES_ONLY, Family, measure, written_rows

MEASURED = [family for family in FAMILIES if not family.large]


@pytest.mark.parametrize("family", MEASURED, ids=[family.model for family in MEASURED])
def test_a_family_is_active_and_computes_what_it_did(family: Family) -> None:
    measured = measure(family)
    assert measured.equal, measured
    assert measured.row() == written_rows()[FAMILIES.index(family)]


def test_the_table_names_every_family() -> None:
    named = [row.split(" | ")[1].strip("`") for row in written_rows()]
    assert named == [family.model for family in FAMILIES]
    convolutional = {family.module for family in FAMILIES}
    assert not convolutional & set(PATCHES_ONLY)
    text = timm_families.PAGE.read_text()
    assert f"{len(convolutional)} of its {len(convolutional) + len(PATCHES_ONLY)} families" in text
    for module in PATCHES_ONLY:
        assert f"`{module}`" in text
