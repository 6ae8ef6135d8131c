from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acu_core.render.layer_names import ELLIPSIS, short_names, stages

RESIDUAL = [f"stage{s}.blocks.{b}.body.conv{c}" for s in range(3) for b in range(5) for c in (1, 2)]


def test_names_that_fit_stay() -> None:
    assert short_names(["conv1", "layer2.conv"], 20) == ["conv1", "layer2.conv"]


@pytest.mark.parametrize("letters", [8, 10, 12, 16, 20])
def test_names_are_cut_in_the_middle_and_stay_different(letters: int) -> None:
    shortened = short_names(RESIDUAL, letters)
    assert len(set(shortened)) == len(RESIDUAL)
    assert all(len(name) <= letters for name in shortened)
    assert all(ELLIPSIS in name for name in shortened)


def test_parts_that_tell_no_layer_apart_go_first() -> None:
    assert short_names(RESIDUAL, 15)[:2] == [f"stage0{ELLIPSIS}0{ELLIPSIS}conv1", f"stage0{ELLIPSIS}0{ELLIPSIS}conv2"]


def test_both_ends_are_seen_where_there_is_room() -> None:
    assert short_names(["encoder_first_convolution", "encoder_second_convolution"], 17) == [
        f"encoder_f{ELLIPSIS}olution",
        f"encoder_s{ELLIPSIS}olution",
    ]


@given(st.lists(st.text("ab.", min_size=1, max_size=30), unique=True, max_size=40), st.integers(1, 20))
def test_any_names_stay_different(names: list[str], letters: int) -> None:
    shortened = short_names(names, letters)
    assert len(set(shortened)) == len(names)
    assert all(len(name) <= max(6, letters) for name in shortened)


def test_layers_are_grouped_by_the_first_part_that_differs() -> None:
    assert stages(["stem", "layer1.0.a", "layer1.1.a", "layer2.0.a"]) == [
        ["stem"],
        ["layer1.0.a", "layer1.1.a"],
        ["layer2.0.a"],
    ]
    assert [len(stage) for stage in stages(RESIDUAL)] == [10, 10, 10]
    assert [len(stage) for stage in stages([f"body.{name}" for name in RESIDUAL])] == [10, 10, 10]
    assert stages(["conv1", "conv2"]) == [["conv1", "conv2"]]
    assert stages([]) == []


BLOCKS = ["stem", *(f"stage{s}.block_{b}.body.conv{c}" for s in range(3) for b in range(5) for c in (1, 2))]


@pytest.mark.parametrize("letters", [8, 10, 12])
def test_words_before_numbers_give_way_before_layers_are_numbered(letters: int) -> None:
    assert short_names(BLOCKS, letters)[:3] == ["stem", f"s0.b0{ELLIPSIS}c1", f"s0.b0{ELLIPSIS}c2"]


def test_of_two_numbers_the_first_is_the_stage() -> None:
    names = [f"block{s}_{b}.conv{c}" for s in (1, 2, 3) for b in range(5) for c in (1, 2)]
    assert [len(stage) for stage in stages(["conv1", *names])] == [1, 10, 10, 10]
    # A number of its own is a block's within its stage only where another number comes before it.
    assert [len(stage) for stage in stages(["conv_1.a", "conv_1.b", "conv_2.a"])] == [2, 1]
