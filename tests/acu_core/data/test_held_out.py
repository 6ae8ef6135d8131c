from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acu_core.data.cifar import CIFAR10, cifar_data
from acu_core.data.data_set import DataSet
from acu_core.data.held_out import held_out_numbers
from acu_core.data.loading import load_data_set
from acu_core.errors import UserError


def images_of(data: DataSet) -> list[bytes]:
    return [image.numpy().tobytes() for images, _ in data.test_batches(7) for image in images]


def trained_on(data: DataSet) -> list[bytes]:
    images, _ = data.training_batch(1, batch_size=data.train_count, seed=0)
    return [image.numpy().tobytes() for image in images]


def test_the_seed_draws_which_and_every_image_is_in_one_part() -> None:
    kept, held_out = held_out_numbers(100, 30, seed=5)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(100))
    assert (len(kept), len(held_out)) == (70, 30)
    assert held_out.tolist() == held_out_numbers(100, 30, seed=5)[1].tolist()
    assert held_out.tolist() != held_out_numbers(100, 30, seed=6)[1].tolist()
    assert held_out.tolist() == sorted(held_out.tolist())


def test_made_up_data() -> None:
    whole = load_data_set("planted", train_count=60, test_count=10)
    data = load_data_set("planted", train_count=60, test_count=10, validation_images=15)
    assert (data.train_count, data.test_count) == (45, 10)
    assert data.validation is not None
    assert data.validation.test_count == 15
    assert sorted(trained_on(data) + images_of(data.validation)) == sorted(trained_on(whole))
    assert images_of(data) == images_of(whole), "the test images are the same"
    assert set(data.fingerprint) == {"data", "validation"}
    assert data.fingerprint["data"] == whole.fingerprint["data"]
    assert whole.validation is None
    moved = data.to("cpu").validation
    assert moved is not None
    assert images_of(moved) == images_of(data.validation)


def cifar_file(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    draw = np.random.default_rng(9)
    test = draw.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(path, train_images=images, train_labels=labels, test_images=test, test_labels=np.arange(6))
    return path


def test_statistics_are_those_of_the_images_that_remain(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    images, labels = draw.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), np.arange(40) % 10
    kept, held_out = held_out_numbers(40, 10, seed=2)
    data = cifar_data(
        CIFAR10, path=cifar_file(tmp_path / "a.npz", images, labels), cache=tmp_path, validation_images=10, seed=2
    )
    rest = cifar_data(CIFAR10, path=cifar_file(tmp_path / "b.npz", images[kept], labels[kept]), cache=tmp_path)
    assert torch.equal(data.train_images, rest.train_images)
    assert torch.equal(data.test_images, rest.test_images)
    assert data.fingerprint["statistics"] == rest.fingerprint["statistics"]
    assert data.validation is not None
    assert data.validation.test_labels.tolist() == labels[held_out].tolist()
    whole = cifar_data(CIFAR10, path=tmp_path / "a.npz", cache=tmp_path)
    assert whole.fingerprint["data"] == data.fingerprint["data"]
    assert whole.fingerprint["statistics"] != data.fingerprint["statistics"]
    by_name = load_data_set("cifar10", path=tmp_path / "a.npz", cache=tmp_path, validation_images=10, seed=2)
    assert by_name.fingerprint == data.fingerprint


def test_image_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 2)):
        for name in ("cat", "dog"):
            os.makedirs(tmp_path / part / name)
            for number in range(count):
                pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    load: Callable[..., DataSet] = load_data_set
    options = {"path": tmp_path, "workers": 1, "crop": 8, "resize": 12, "seed": 3}
    whole, data = load("imagefolder", **options), load("imagefolder", validation_images=6, **options)
    assert (data.train_count, data.test_count) == (10, 4)
    assert data.validation is not None
    assert data.validation.test_count == 6
    assert images_of(data) == images_of(whole)
    labels = [int(label) for _, batch in data.validation.test_batches(4) for label in batch]
    assert labels == [int(number >= 8) for number in held_out_numbers(16, 6, seed=3)[1]]
    (images, _) = data.training_batch(1, batch_size=4, seed=0)
    assert images.shape == (4, 3, 8, 8)
    assert "validation" in data.fingerprint
    assert data.fingerprint["names_and_sizes"] == whole.fingerprint["names_and_sizes"]


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(UserError, match=r"^data\.validation_images is 60, but there are 60 training images"):
        load_data_set("planted", train_count=60, test_count=10, validation_images=60)
