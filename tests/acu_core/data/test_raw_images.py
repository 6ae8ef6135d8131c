from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acu_core.data.raw_images import read_npz
from acu_core.errors import UserError

Arrays = dict[str, np.ndarray[Any, Any]]


def _arrays() -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "train_images": draw.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "train_labels": np.arange(6, dtype=np.uint8),
        "test_images": draw.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8),
        "test_labels": np.array([9, 0], dtype=np.uint8),
    }


def _stored(folder: Path, arrays: Arrays) -> Path:
    file = folder / "data.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file


def test_reads_what_was_stored(tmp_path: Path) -> None:
    arrays = _arrays()
    raw = read_npz(_stored(tmp_path, arrays), classes=10)
    assert np.array_equal(raw.train_images, arrays["train_images"])
    assert np.array_equal(raw.test_labels, arrays["test_labels"])
    assert raw.train_labels.dtype == np.int64
    assert raw.source == str(tmp_path.resolve() / "data.npz")


def test_labels_in_a_column_and_validation_images_as_medmnist_stores_them(tmp_path: Path) -> None:
    arrays = _arrays()
    plain = read_npz(_stored(tmp_path, arrays), classes=10)
    for part in ("train", "test"):
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].reshape(-1, 1)
    arrays["val_images"] = arrays["test_images"]
    raw = read_npz(_stored(tmp_path, arrays), classes=10)
    assert raw.train_labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert raw.sha256() == plain.sha256()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_images", np.zeros((6, 5, 4, 3), np.float32), "train_images must be uint8 .* it is float32"),
        ("train_images", np.zeros((6, 3, 5, 4), np.uint8), r"\(N, H, W, 3\).*\(6, 3, 5, 4\)"),
        ("test_images", np.zeros((2, 5, 4), np.uint8), r"test_images .*\(2, 5, 4\)"),
        ("test_images", np.zeros((0, 5, 4, 3), np.uint8), r"test_images .*\(0, 5, 4, 3\)"),
        ("test_images", np.zeros((2, 8, 8, 3), np.uint8), r"one size.*\(5, 4, 3\) and \(8, 8, 3\)"),
        ("train_labels", np.zeros(5, np.uint8), r"train_labels .*shape \(6,\).*\(5,\)"),
        ("train_labels", np.zeros(6), "train_labels must be integers .*float64"),
        ("train_labels", np.zeros((6, 2), np.int64), r"\(6, 2\)"),
        ("test_labels", np.array([0, 10]), "0 to 9, but they run from 0 to 10"),
        ("test_labels", np.array([-1, 0]), "0 to 9, but they run from -1 to 0"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, key: str, value: np.ndarray[Any, Any], message: str) -> None:
    file = _stored(tmp_path, _arrays() | {key: value})
    with pytest.raises(UserError, match=message) as caught:
        read_npz(file, classes=10)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    arrays = _arrays()
    del arrays["test_labels"], arrays["train_images"]
    with pytest.raises(UserError, match=r"lacks train_images, test_labels \(it has train_labels, test_images\)"):
        read_npz(_stored(tmp_path, arrays), classes=10)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"absent\.npz does not exist; expected a \.npz file with the arrays train_images"
    ):
        read_npz(tmp_path / "absent.npz", classes=10)


def test_a_single_array(tmp_path: Path) -> None:
    file = tmp_path / "single.npy"
    np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="holds a single array"):
        read_npz(file, classes=10)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    arrays = _arrays() | {"train_labels": np.array([None] * 6, dtype=object)}
    with pytest.raises(UserError, match="damaged"):
        read_npz(_stored(tmp_path, arrays), classes=10)


def test_a_file_cut_short_anywhere_gives_one_sentence(tmp_path: Path) -> None:
    content = _stored(tmp_path, _arrays()).read_bytes()
    file = tmp_path / "cut.npz"
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.npz"):
            read_npz(file, classes=10)


def test_flipped_bytes_never_give_a_traceback(tmp_path: Path) -> None:
    content = _stored(tmp_path, _arrays()).read_bytes()
    file = tmp_path / "flipped.npz"
    for place in range(0, len(content), 5):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with contextlib.suppress(UserError):  # some bytes are padding or labels; what must not come is any other error
            read_npz(file, classes=10)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match=r"pipe\.npz is not a file"):
        read_npz(tmp_path / "pipe.npz", classes=10)
