from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from acu_core.data.augmentation import random_crop_and_mirror
from acu_core.data.batches import batch_indices
from acu_core.data.in_memory import InMemoryData
from acu_core.data.loading import load_data_set
from acu_core.data.planted import planted_data
from acu_core.errors import UserError


def test_planted_data_by_name_and_options() -> None:
    data = load_data_set("planted", seed=2, train_count=30, test_count=10)
    assert isinstance(data, InMemoryData)
    direct = planted_data(seed=2, train_count=30, test_count=10)
    assert torch.equal(data.train_images, direct.train_images)
    assert data.fingerprint == direct.fingerprint


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"there is no data set 'cifar'; did you mean cifar10\?$"):
        load_data_set("cifar")
    with pytest.raises(UserError, match="there is no data set 'zzz'; known: planted, cifar10"):
        load_data_set("zzz")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("planted", "there are train_count, test_count"),
        ("cifar10", "options has none"),
        ("places365", "there are crop, .*large"),
    ],
)
def test_unknown_options_are_refused(name: str, known: str) -> None:
    with pytest.raises(UserError, match=f"options.colour: unknown key; {known}; options.tint: unknown key; {known}$"):
        load_data_set(name, colour=1, tint=2)


def test_a_count_is_no_truth_value() -> None:
    with pytest.raises(UserError, match=r"options\.test_count: should be a valid integer, got true"):
        load_data_set("planted", test_count=True)


def test_a_data_set_moves_as_a_whole_and_cannot_be_changed() -> None:
    data = load_data_set("planted", train_count=10, test_count=5)
    moved = data.to("meta")
    assert isinstance(data, InMemoryData)
    assert isinstance(moved, InMemoryData)
    tensors = (moved.train_images, moved.train_labels, moved.test_images, moved.test_labels)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.hidden_positions is data.hidden_positions
    assert moved.fingerprint == data.fingerprint
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"  # type: ignore[misc]


def test_batches_are_those_of_the_images_in_memory() -> None:
    data = load_data_set("planted", train_count=30, test_count=10)
    assert isinstance(data, InMemoryData)
    assert (data.train_count, data.test_count, data.channels, data.workers) == (30, 10, 2, 0)
    images, labels = data.training_batch(3, batch_size=8, seed=1)
    indices = batch_indices(30, 8, seed=1, iteration=3)
    assert torch.equal(images, data.train_images[indices])
    assert torch.equal(labels, data.train_labels[indices])
    cropped, _ = data.training_batch(3, batch_size=8, seed=1, crop_padding=2, mirror=True)
    assert torch.equal(cropped, random_crop_and_mirror(images, padding=2, mirror=True, seed=1, iteration=3))
    batches = list(data.test_batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([images for images, _ in batches]), data.test_images)


def test_the_decoding_processes_do_not_wait_for_pytorch() -> None:
    code = "import sys, acu_core.data.decoding_process; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
