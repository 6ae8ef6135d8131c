"""Images that cannot be read, left out because the recipe says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_data import make_image_folder, make_places365
from PIL import Image

from acu_core.data.batches import batch_indices
from acu_core.data.broken_images import BrokenImage
from acu_core.data.image_decoding import DRAWS, Crops, read_image, training_image
from acu_core.data.image_files import ImageFiles
from acu_core.data.loading import load_data_set
from acu_core.data.randomness import generator_for
from acu_core.data.replacements import MOST_IN_A_ROW, replacements
from acu_core.errors import Action, UserError

Batch = tuple[torch.Tensor, torch.Tensor]


def _load(root: Path, workers: int = 1, *, skip_broken: bool = True) -> ImageFiles:
    data = load_data_set("imagefolder", path=root, workers=workers, crop=24, resize=28, skip_broken=skip_broken)
    assert isinstance(data, ImageFiles)
    return data


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("<html>404 Not Found</html>")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _forbidden(path: Path) -> None:
    path.chmod(0)


def _bomb(path: Path) -> None:
    Image.new("1", (14_000, 14_000)).save(path, "PNG")


BREAKS: dict[str, Callable[[Path], None]] = {
    "truncated": _truncated,
    "cannot identify": _empty,
    "cannot identify image": _text,
    "not a file": _pipe,
    "No such file": _dangling,
    "Too many levels": _loop,
    "exceeds limit": _bomb,
}
if os.geteuid() != 0:
    BREAKS["Permission denied"] = _forbidden


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many training images as there are ways of being broken are; one validation image is."""
    root = make_image_folder(tmp_path_factory.mktemp("images"))
    for file, spoil in zip(_files(root, "train")[::3], BREAKS.values(), strict=False):
        spoil(file)
    _truncated(_files(root, "val")[7])
    return root


@pytest.fixture(scope="module")
def data(root: Path) -> Iterator[ImageFiles]:
    data = _load(root)
    yield data
    data.close()


def _files(root: Path, part: str) -> list[Path]:
    return sorted(path for path in (root / part).rglob("*") if path.suffix in {".jpg", ".jpeg", ".PNG"})


def test_every_way_of_being_broken_is_named_once(root: Path, data: ImageFiles) -> None:
    told: list[BrokenImage] = []
    data.broken_images.listen(told.append)
    for iteration in (1, 2):
        images, labels = data.training_batch(iteration, batch_size=24, seed=0)
        assert (images.shape, labels.shape) == ((24, 3, 24, 24), (24,))
    broken = dict(zip(map(str, _files(root, "train")[::3]), BREAKS, strict=False))
    assert {image.path for image in told} == set(broken)
    assert len(told) == len(data.broken_images) == len(broken)
    for image in told:
        assert broken[image.path] in image.reason
        assert (image.part, image.path in image.reason) == ("train", False)


def test_the_place_of_a_broken_image_is_taken_by_a_readable_one(root: Path, data: ImageFiles) -> None:
    broken = set(range(0, 3 * len(BREAKS), 3))
    files = _files(root, "train")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    replaced = 0
    for iteration in (1, 2, 3):
        images, labels = data.training_batch(iteration, batch_size=10, seed=5, mirror=True)
        draws = generator_for(5, "image crops", iteration).random((10, DRAWS)).tolist()
        for row, index in enumerate(batch_indices(24, 10, seed=5, iteration=iteration).tolist()):
            if index in broken:
                index = next(i for i in replacements(24, seed=5, iteration=iteration, row=row) if i not in broken)
                replaced += 1
            pixels = training_image(read_image(str(files[index])), Crops(24, 28), draws[row], True)
            expected = (torch.from_numpy(pixels.copy()).float() / 255 - mean) / std
            assert torch.equal(images[row], expected.permute(2, 0, 1))
            assert labels[row] == index // 4
    assert replaced >= len(BREAKS)


def test_neither_workers_nor_what_was_read_before_change_a_batch(root: Path, data: ImageFiles) -> None:
    others = _load(root, workers=3)
    batches = [others.training_batch(number, batch_size=20, seed=0, mirror=True) for number in (4, 2)]
    for number, batch in zip((4, 2), batches, strict=True):
        again = data.training_batch(number, batch_size=20, seed=0, mirror=True)
        assert all(torch.equal(first, second) for first, second in zip(batch, again, strict=True))
    others.close()


def test_replacements_differ_by_place_iteration_and_seed() -> None:
    drawn = {
        tuple(replacements(1000, seed=seed, iteration=iteration, row=row))
        for seed in (0, 1)
        for iteration in (1, 2)
        for row in (0, 1)
    }
    assert len(drawn) == 8
    assert all(len(indices) == MOST_IN_A_ROW and 0 <= min(indices) <= max(indices) < 1000 for indices in drawn)


def test_in_evaluation_it_is_not_counted(root: Path, data: ImageFiles) -> None:
    labels = torch.cat([labels for _, labels in data.test_batches(4)])
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1, *sorted([2, 3, 4, 5] * 4)]
    assert [len(labels) for _, labels in data.test_batches(1)] == [1] * 23, "no batch is empty"
    assert data.broken_images.found[str(_files(root, "val")[7])].part == "validation"


def test_held_out_of_the_training_folder_it_is_not_called_one_of_the_validation_folder(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "images", each=2)
    broken = _files(root, "train")[3]
    broken.write_bytes(b"no image")
    data = _load(root)
    divided = data.hold_out(data.train_count - 1, seed=0)
    held_out = divided.validation
    assert held_out is not None
    assert divided.broken_images is not None
    assert sum(len(labels) for _, labels in held_out.test_batches(4)) == held_out.test_count - 1
    assert {path: image.part for path, image in divided.broken_images.found.items()} == {str(broken): "held-out"}
    data.close()


def test_an_image_that_breaks_or_vanishes_later(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "images")
    data = _load(root)
    data.training_batch(1, batch_size=24, seed=0)
    assert len(data.broken_images) == 0
    data.rest()
    gone = _files(root, "train")[3]
    gone.unlink()
    data.training_batch(2, batch_size=24, seed=0)
    data.training_batch(3, batch_size=24, seed=0)
    assert list(data.broken_images.found) == [str(gone)]
    data.close()


def test_a_data_set_that_is_gone_is_an_error(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "images")
    data = _load(root)
    for file in _files(root, "train"):
        file.unlink()
    with pytest.raises(UserError, match=rf"{MOST_IN_A_ROW + 1} images in a row cannot be read, .*is still there"):
        data.training_batch(1, batch_size=2, seed=0)
    for file in _files(root, "val")[5:8]:
        _empty(file)
    with pytest.raises(UserError, match=r"3 of 24 validation images cannot be read, .*is still there"):
        list(data.test_batches(10))
    data.close()


def test_without_the_option_it_is_an_error_that_says_what_helps(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(is not a file|cannot be read)"):
        _load(root, skip_broken=False)
    other = make_image_folder(tmp_path / "images")
    _truncated(_files(other, "train")[3])
    data = _load(other, skip_broken=False)
    with pytest.raises(UserError, match=r"3\.jpg cannot be read as an image \(Truncated") as caught:
        data.training_batch(1, batch_size=24, seed=0)
    assert [remedy.action for remedy in caught.value.remedies] == [Action.SKIP_BROKEN]
    assert data.broken_images is None
    data.close()


def test_places365_leaves_out_as_well(tmp_path: Path) -> None:
    root = make_places365(tmp_path / "places")
    options: dict[str, Any] = {"path": root, "workers": 1, "crop": 24, "resize": 28}
    (root / "val_256" / "Places365_val_00000003.jpg").unlink()
    with pytest.raises(UserError, match="is not there"):
        load_data_set("places365", **options)
    data = load_data_set("places365", skip_broken=True, **options)
    assert sum(len(labels) for _, labels in data.test_batches(5)) == 11
    assert data.broken_images is not None
    assert [Path(path).name for path in data.broken_images.found] == ["Places365_val_00000003.jpg"]


def test_a_name_that_is_no_text_can_be_written() -> None:
    image = BrokenImage(os.fsdecode(b"/images/\xff.jpg"), "damaged", "train")
    assert image.name == r"/images/\xff.jpg"


def test_a_mode_that_becomes_colour_is_not_broken(tmp_path: Path) -> None:
    root = make_image_folder(tmp_path / "images")
    modes = ("1", "L", "LA", "P", "RGBA", "I;16")
    for file, mode in zip(_files(root, "train"), modes, strict=False):
        pixels = np.full((30, 30), 40_000, np.uint16)
        image = Image.fromarray(pixels) if mode == "I;16" else Image.new(mode, (30, 30))
        image.save(file, "PNG")
    data = _load(root)
    data.training_batch(1, batch_size=24, seed=0)
    assert len(data.broken_images) == 0
    data.close()
