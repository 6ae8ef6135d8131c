"""Fashion-MNIST from small files in its real layouts."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acu_core.data import fashion_mnist, torchvision_source
from acu_core.data.fashion_mnist import fashion_mnist_data, find_fashion_mnist
from acu_core.data.loading import load_data_set
from acu_core.errors import Action, UserError

Array = np.ndarray[Any, Any]


def idx(array: Array) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes((0, 0, 8, array.ndim)) + lengths + array.tobytes()


def arrays() -> dict[str, Array]:
    draw = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": draw.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": draw.integers(0, 10, 20, dtype=np.uint8),
        "t10k-images-idx3-ubyte": draw.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": draw.integers(0, 10, 6, dtype=np.uint8),
    }


def stored(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays().items():
        content = idx(array)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def _no_data_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "_OF_THE_SYSTEM", tmp_path / "system")
    monkeypatch.delenv("ACU_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_images_are_standardised_by_the_training_images(tmp_path: Path, packed: bool) -> None:
    data = fashion_mnist_data(path=stored(tmp_path / "f", packed=packed))
    raw = arrays()
    train = raw["train-images-idx3-ubyte"].astype(np.float64)
    test = (raw["t10k-images-idx3-ubyte"] - train.mean()) / train.std()
    assert data.train_images.shape == (20, 1, 28, 28)
    assert data.train_images.dtype == torch.float32
    np.testing.assert_allclose(data.test_images[:, 0].numpy(), test, rtol=0, atol=1e-5)
    assert abs(float(data.train_images.double().mean())) < 1e-6
    assert abs(float(data.train_images.double().std(correction=0)) - 1) < 1e-6
    assert data.train_labels.tolist() == raw["train-labels-idx1-ubyte"].tolist()
    assert data.test_labels.dtype == torch.int64
    assert data.classes == 10
    assert data.class_names[9] == "ankle boot"


def test_what_is_held_out_decides_nothing(tmp_path: Path) -> None:
    folder = stored(tmp_path / "f")
    data = load_data_set("fashion-mnist", path=folder, seed=3, validation_images=5)
    assert data.validation is not None
    assert (data.train_count, data.validation.test_count) == (15, 5)
    again = fashion_mnist_data(path=folder, seed=3, validation_images=5)
    assert again.fingerprint == data.fingerprint
    assert fashion_mnist_data(path=folder, seed=4, validation_images=5).fingerprint != data.fingerprint
    assert abs(float(again.train_images.double().mean())) < 1e-6, "of the kept ones alone"


@pytest.mark.parametrize("folder", ["", "fashion-mnist", "FashionMNIST/raw", "raw"])
def test_where_it_is_looked_for(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stored(tmp_path / "data" / folder)
    assert find_fashion_mnist().resolve() == expected
    assert find_fashion_mnist(tmp_path / "data") == expected
    monkeypatch.setenv("ACU_DATA", str(tmp_path / "data"))
    assert find_fashion_mnist() == expected


def test_the_systems_copy_is_the_last_resort(tmp_path: Path) -> None:
    stored(tmp_path / "system")
    assert find_fashion_mnist() == tmp_path / "system"
    with pytest.raises(UserError, match=r"elsewhere \(as asked for\) does not exist"):
        find_fashion_mnist(tmp_path / "elsewhere")


def test_a_download_comes_only_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []

    def fetch(root: Path) -> None:
        fetched.append(root)
        stored(root / "FashionMNIST" / "raw")

    monkeypatch.setattr(torchvision_source, "download_fashion_mnist", fetch)
    with pytest.raises(UserError, match="dataset-fashion-mnist") as caught:
        find_fashion_mnist()
    assert [remedy.action for remedy in caught.value.remedies] == [Action.DOWNLOAD]
    assert find_fashion_mnist(download=True) == Path("data/FashionMNIST/raw")
    assert find_fashion_mnist(download=True) == Path("data/FashionMNIST/raw")
    assert fetched == [Path("data")]


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _other_type(content: bytes) -> bytes:
    return content[:2] + bytes((13,)) + content[3:]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "t10k-images-idx3-ubyte",
            _cut,
            "t10k-images-idx3-ubyte is damaged: 6 x 28 x 28 bytes are announced, 2344 follow",
        ),
        ("train-labels-idx1-ubyte", _other_type, "is no idx file of bytes with 1 axes"),
        ("train-labels-idx1-ubyte", lambda content: b"", "is no idx file of bytes"),
        ("train-labels-idx1-ubyte", lambda content: idx(np.zeros(19, np.uint8)), "20 train images, but 19 labels"),
        ("t10k-labels-idx1-ubyte", lambda content: idx(np.full(6, 10, np.uint8)), "t10k labels must lie in 0 to 9"),
        ("train-images-idx3-ubyte", lambda content: idx(np.ones((20, 28, 28), np.uint8)), "are of one grey"),
        ("t10k-images-idx3-ubyte", lambda content: idx(np.ones((6, 27, 28), np.uint8)), "must have one size"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, change: Callable[[bytes], bytes], message: str) -> None:
    folder = stored(tmp_path / "f", packed=False)
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(UserError, match=message):
        fashion_mnist_data(path=folder)


def test_a_file_that_is_missing_or_no_gzip(tmp_path: Path) -> None:
    folder = stored(tmp_path / "f")
    packed = folder / "t10k-labels-idx1-ubyte.gz"
    whole = packed.read_bytes()
    for content in (b"no gzip", whole[:-9], whole[:12] + bytes(len(whole) - 12)):
        packed.write_bytes(content)
        with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz (cannot be read .*: fetch it again|is )"):
            fashion_mnist_data(path=folder)
    packed.unlink()
    with pytest.raises(UserError, match="lacks t10k-labels-idx1-ubyte"):
        fashion_mnist_data(path=folder)


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_the_real_data() -> None:
    data = fashion_mnist_data(path=Path("/usr/share/datasets/fashion-mnist"))
    assert (data.train_count, data.test_count, data.classes) == (60_000, 10_000, 10)
    assert data.train_labels.bincount().tolist() == [6_000] * 10
    assert abs(float(data.train_images.double().mean())) < 1e-4
