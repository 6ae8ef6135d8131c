"""Image files through real decoding processes."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_data import CLASSES, make_image_folder
from PIL import Image

from acu_core.data.batches import batch_indices
from acu_core.data.image_decoding import DRAWS, Crops, read_image, training_image
from acu_core.data.image_files import ImageFiles
from acu_core.data.loading import load_data_set
from acu_core.data.randomness import generator_for
from acu_core.errors import UserError

OPTIONS: dict[str, Any] = {"crop": 24, "resize": 28}
Batch = tuple[torch.Tensor, torch.Tensor]


def _load(root: Path, workers: int = 1, **options: Any) -> ImageFiles:
    data = load_data_set("imagefolder", path=root, workers=workers, **OPTIONS | options)
    assert isinstance(data, ImageFiles)
    return data


def _same(first: Batch, second: Batch) -> bool:
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def _processes(data: ImageFiles) -> list[int]:
    """The numbers of this process's decoding processes."""
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def data(root: Path) -> Iterator[ImageFiles]:
    data = _load(root)
    yield data
    data.close()


def test_what_a_batch_holds(root: Path, data: ImageFiles) -> None:
    assert (data.classes, data.class_names, data.channels) == (6, CLASSES, 3)
    assert (data.train_count, data.test_count, data.source) == (24, 24, str(root))
    images, labels = data.training_batch(2, batch_size=5, seed=3, mirror=True)
    assert (images.shape, images.dtype, labels.dtype) == ((5, 3, 24, 24), torch.float32, torch.int64)
    draws = generator_for(3, "image crops", 2).random((5, DRAWS)).tolist()
    files = sorted(path for path in (root / "train").rglob("*") if path.is_file() and path.suffix != ".txt")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for place, index in enumerate(batch_indices(24, 5, seed=3, iteration=2).tolist()):
        assert labels[place] == index // 4
        pixels = training_image(read_image(str(files[index])), Crops(24, 28), draws[place], True)
        expected = (torch.from_numpy(pixels.copy()).float() / 255 - mean) / std
        assert torch.equal(images[place], expected.permute(2, 0, 1))


def test_batches_are_the_same_whatever_the_workers_and_the_order(root: Path, data: ImageFiles) -> None:
    others = _load(root, workers=3)
    one = [data.training_batch(number, batch_size=20, seed=0, mirror=True) for number in (1, 2, 3, 7)]
    # Backwards, and with an evaluation that is left in the middle: nothing that was decoded ahead is mistaken.
    three = [others.training_batch(number, batch_size=20, seed=0, mirror=True) for number in (7, 3)]
    next(others.test_batches(4))
    three += [others.training_batch(number, batch_size=20, seed=0, mirror=True) for number in (2, 1)]
    assert all(_same(first, second) for first, second in zip(one, reversed(three), strict=True))
    different = others.training_batch(1, batch_size=20, seed=1, mirror=True)
    assert not _same(different, one[0])
    assert all(_same(*pair) for pair in zip(data.test_batches(7), others.test_batches(7), strict=True))
    others.close()


def test_a_share_of_a_batch_is_read_alone_and_is_what_the_batch_holds(
    data: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = data.training_batch(2, batch_size=7, seed=3, mirror=True)
    asked: list[int] = []
    decode = data._pool.decode

    def counted(paths: list[str], *arguments: Any, **named: Any) -> Any:
        asked.append(len(paths))
        return decode(paths, *arguments, **named)

    monkeypatch.setattr(data._pool, "decode", counted)
    shares = [data.training_rows(2, rows, batch_size=7, seed=3, mirror=True) for rows in (range(3), range(3, 7))]
    assert _same(
        (torch.cat([share[0] for share in shares]), torch.cat([share[1] for share in shares])), (images, labels)
    )
    # The batch and those ahead of it.
    assert asked == [3] * 3 + [4] * 3
    whole = list(data.test_batches(2))
    some = [*data.some_test_batches(2, range(1)), *data.some_test_batches(2, range(1, len(whole)))]
    assert len(some) == len(whole)
    assert all(map(_same, some, whole))


def test_evaluation_sees_every_image_once_in_order(data: ImageFiles) -> None:
    batches = list(data.test_batches(7))
    assert [len(labels) for _, labels in batches] == [7, 7, 7, 3]
    assert torch.cat([labels for _, labels in batches]).tolist() == sorted([*range(6)] * 4)
    whole = torch.cat([images for images, _ in batches])
    assert torch.equal(whole, next(data.test_batches(100))[0])


def test_the_fingerprint_is_of_names_labels_and_sizes(tmp_path: Path, root: Path, data: ImageFiles) -> None:
    copy = make_image_folder(tmp_path / "copy")
    assert _load(copy).fingerprint == data.fingerprint, "wherever the files lie"
    file = copy / "val" / "tower" / "2.jpg"
    file.write_bytes(file.read_bytes() + b"\0")
    changed = _load(copy).fingerprint
    assert changed != data.fingerprint
    file.rename(file.with_name("other.jpg"))
    assert _load(copy).fingerprint != changed


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "images")
    truncated, empty = root / "val/forest/3.jpg", root / "train/bridge/2.jpg"
    truncated.write_bytes(truncated.read_bytes()[:200])
    data = _load(root)
    with pytest.raises(UserError, match=r"forest/3\.jpg cannot be read as an image \(.*\): put a whole copy") as caught:
        list(data.test_batches(10))
    assert "\n" not in str(caught.value)
    empty.write_bytes(b"")
    with pytest.raises(UserError, match=r"bridge/2\.jpg cannot be read as an image \(cannot identify image format\)"):
        data.training_batch(1, batch_size=24, seed=0)
    empty.unlink()
    with pytest.raises(UserError, match=r"bridge/2\.jpg cannot be read as an image \(.*No such file"):
        data.training_batch(1, batch_size=24, seed=0)
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(empty)
    images, _ = data.training_batch(1, batch_size=24, seed=0)
    assert bool(images.isfinite().all()), "the processes outlive what they could not read"
    data.close()


def test_a_process_that_dies_is_an_error_not_a_wait(root: Path) -> None:
    data = _load(root)
    before = set(_processes(data))
    data.training_batch(1, batch_size=2, seed=0)
    (worker,) = set(_processes(data)) - before
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(UserError, match=r"a process that decodes images ended \(exit code -9\)"):
        data.training_batch(100, batch_size=2, seed=0)
    data.close()


def test_the_signals_of_the_terminal_are_left_to_the_parent(root: Path) -> None:
    data = _load(root)
    before = set(_processes(data))
    data.training_batch(1, batch_size=2, seed=0)
    (worker,) = set(_processes(data)) - before
    assert os.getsid(worker) != os.getsid(0)
    os.kill(worker, signal.SIGINT)
    for iteration in range(2, 9):
        data.training_batch(iteration, batch_size=2, seed=0)
    assert worker in _processes(data)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    data.close()
    assert worker not in _processes(data)


def test_a_forgotten_data_set_ends_its_processes(root: Path) -> None:
    before = set(_processes(_load(root)))
    data = _load(root).to("cpu")
    data.training_batch(1, batch_size=2, seed=0)
    assert set(_processes(data)) > before
    del data
    gc.collect()
    for _ in range(200):
        if set(_processes(_load(root))) == before:
            return
        time.sleep(0.05)
    raise AssertionError("the processes are still there")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 0}, "crop: should be greater than or equal to 1, got 0"),
        ({"resize": 30.5}, "resize: should be a valid integer, got 30.5"),
        ({"crop": 40}, "crop: 40 is larger than resize, 28"),
        ({"smallest_crop": 0.0}, "smallest_crop: should be greater than or equal to"),
        ({"mean": "1, 2"}, r"mean: should have at least 3 items, not 2, got \[1.0, 2.0\]"),
        ({"std": "1, 0, 1"}, r"std.1: should be greater than or equal to 0.000001, got 0.0"),
        ({"std": 1.0}, "std: should be a valid list, got 1.0"),
    ],
)
def test_wrong_options_are_refused_by_name(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _load(root, **options)


def test_lists_may_be_texts_as_in_earlier_recipes(root: Path, data: ImageFiles) -> None:
    listed, written = _load(root, mean=[0.1, 0.2, 0.3], std=[1, 2, 3]), _load(root, mean="0.1, 0.2,0.3", std="1, 2, 3")
    batches = [one.training_batch(1, batch_size=3, seed=0) for one in (listed, written, data)]
    assert _same(batches[0], batches[1])
    assert not _same(batches[0], batches[2])


def test_its_test_images_are_called_what_the_folder_is(data: ImageFiles) -> None:
    assert (data.test_part, load_data_set("planted", train_count=2, test_count=1).test_part) == ("validation", "test")


def test_a_crop_padding_is_refused(data: ImageFiles) -> None:
    with pytest.raises(UserError, match="image files are cropped by"):
        data.training_batch(1, batch_size=2, seed=0, crop_padding=4)


def test_the_number_of_workers_is_chosen_where_it_is_not_given(root: Path) -> None:
    assert 1 <= _load(root, workers=0).workers <= 16
    assert _load(root, workers=5).workers == 5
