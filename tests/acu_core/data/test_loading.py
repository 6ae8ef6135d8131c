from __future__ import annotations

import dataclasses

import pytest
import torch

from acu_core.data import load_data_set, planted_data
from acu_core.errors import UserError


def test_planted_data_by_name_and_options() -> None:
    data = load_data_set("planted", seed=2, train_count=30, test_count=10)
    direct = planted_data(seed=2, train_count=30, test_count=10)
    assert torch.equal(data.train_images, direct.train_images)
    assert data.fingerprint == direct.fingerprint


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"'cifar' \(did you mean 'cifar10'\?\); the known ones are planted, cifar10"):
        load_data_set("cifar")


@pytest.mark.parametrize(("name", "known"), [("planted", "train_count, test_count"), ("cifar10", "none")])
def test_unknown_options_are_refused(name: str, known: str) -> None:
    with pytest.raises(UserError, match=f"no option count, size; its options are: {known}"):
        load_data_set(name, size=1, count=2)


def test_a_data_set_moves_as_a_whole_and_cannot_be_changed() -> None:
    data = load_data_set("planted", train_count=10, test_count=5)
    moved = data.to("meta")
    tensors = (moved.train_images, moved.train_labels, moved.test_images, moved.test_labels)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.hidden_positions is data.hidden_positions
    assert moved.fingerprint == data.fingerprint
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"  # type: ignore[misc]
