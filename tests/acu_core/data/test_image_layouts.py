"""Image folders and Places365: what is found, and what is said where something is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from image_data import CLASSES, make_image_folder, make_places365

from acu_core.data.image_folder import image_folder_data
from acu_core.data.loading import load_data_set
from acu_core.data.places365 import places365_data
from acu_core.errors import Action, Remedy, UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_image_folder(tmp_path / "images", each=1, size=4)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return make_places365(tmp_path / "places", each=1)


def test_an_image_folder_says_what_is_missing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACU_DATA", raising=False)
    with pytest.raises(
        UserError, match=r"no image folder at data \(the default\): data is not there; .*train/<class>/"
    ):
        image_folder_data()
    monkeypatch.setenv("ACU_DATA", str(folder))
    assert image_folder_data().train_count == 6
    (folder / "val").rename(folder / "validation")
    with pytest.raises(UserError, match=r"\(as ACU_DATA says\): .*val is not there; ") as raised:
        image_folder_data()
    assert raised.value.remedies == (Remedy(Action.NAME_DATA, "imagefolder"),)


def test_classes_must_be_the_same_and_have_images(folder: Path) -> None:
    (folder / "train" / ".hidden").mkdir()
    assert image_folder_data(path=folder).class_names == CLASSES
    (folder / "val" / "zoo").mkdir()
    with pytest.raises(UserError, match=r"same class folders, but only one of them has zoo\."):
        image_folder_data(path=folder)
    (folder / "train" / "zoo").mkdir()
    with pytest.raises(UserError, match=r"train/zoo holds no image \(a file that ends in \.jpg, "):
        image_folder_data(path=folder)
    shutil.rmtree(folder / "train")
    (folder / "train" / "one").mkdir(parents=True)
    with pytest.raises(UserError, match="has 1 class folders, at least 2 are needed"):
        image_folder_data(path=folder)


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"])
def test_every_ending_of_torchvision_counts(folder: Path, ending: str) -> None:
    (folder / "train/tower/0.PNG").rename(folder / f"train/tower/0.{ending}")
    (folder / "train/tower/inner").mkdir()
    shutil.copy(folder / f"train/tower/0.{ending}", folder / "train/tower/inner/more.jpg")
    assert image_folder_data(path=folder).train_count == 7


def test_places365_by_its_lists(tmp_path: Path, places: Path) -> None:
    data = load_data_set("places365", path=places, workers=1, crop=16, resize=20)
    assert (data.train_count, data.test_count) == (6, 12)
    assert data.class_names == tuple(f"{name[0]}/{name}" for name in CLASSES)
    images, labels = next(data.test_batches(12))
    listed = [int(line.split()[1]) for line in (places / "places365_val.txt").read_text().splitlines()]
    assert labels.tolist() == listed
    # A picture is noise around its category's colour: the two of a category resemble one another most.
    colours = images.mean(dim=(2, 3))
    nearest = (torch.cdist(colours, colours) + 1e9 * torch.eye(12)).argmin(1)
    assert (labels[nearest] == labels).float().mean() > 0.7
    large = make_places365(tmp_path / "large", large=True, each=2)
    assert load_data_set("places365", path=large, large=True).train_count == 12
    with pytest.raises(UserError, match=r"data_256_standard, val_256 not there; .* set data\.options\.large=true;"):
        places365_data(path=large)
    with pytest.raises(UserError, match="large: should be a valid boolean, got 'yes'"):
        load_data_set("places365", path=large, large="yes")


def test_places365_says_what_is_missing(tmp_path: Path, places: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"no Places365 at .*nowhere \(as asked for\): categories_places365\.txt, places365_train_standard\.txt, "
        r"places365_val\.txt, data_256_standard, val_256 not there; unpack the files of http://places2",
    ):
        places365_data(path=tmp_path / "nowhere")
    (places / "places365_val.txt").unlink()
    with pytest.raises(UserError, match=r": places365_val\.txt not there; unpack"):
        places365_data(path=places)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("categories_places365.txt", "/a/abbey 0\n/b/barn 2\n", "must number its categories from 0 on"),
        ("categories_places365.txt", "/a/abbey 0\n", "must number its categories"),
        ("categories_places365.txt", "abbey\n", r"line 1: expected a name and a number, got 'abbey'"),
        ("places365_val.txt", "", "lists no image"),
        ("places365_val.txt", "a.jpg 0\n<html>\n", r"places365_val\.txt, line 2: expected a name"),
        ("places365_val.txt", "Places365_val_00000000.jpg 6\n", "the category 6, but there are 6, from 0 on"),
        ("places365_val.txt", "gone.jpg 0\n", r"val_256/gone\.jpg is not there .* but .*places365_val\.txt lists it"),
        ("places365_train_standard.txt", b"\xff\xfe 0\n", "cannot be read"),
    ],
)
def test_damaged_lists_are_refused(places: Path, file: str, content: str | bytes, message: str) -> None:
    (places / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        places365_data(path=places)


def test_a_download_fetches_the_small_images_of_both_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    asked = []

    def download(root: str, *, split: str, small: bool, download: bool) -> None:
        asked.append((split, small, download))
        if len(asked) == 2:
            make_places365(Path(root))

    monkeypatch.setattr(datasets, "Places365", download)
    assert places365_data(path=tmp_path / "new", download=True).train_count == 18
    assert asked == [("val", True, True), ("train-standard", True, True)]
    monkeypatch.setattr(datasets, "Places365", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"could not be downloaded to .*other"):
        places365_data(path=tmp_path / "other", download=True)


def test_links_elsewhere_are_followed_in_the_order_of_os_walk(folder: Path, tmp_path: Path) -> None:
    """A subset made of links, a part that is a link, folders in folders: all fine."""
    pool = tmp_path / "pool"
    (pool / "more" / "inner").mkdir(parents=True)
    first = next((folder / "train" / CLASSES[0]).glob("*.PNG"))
    for place in (
        pool / "single.png",
        pool / "more" / "z.png",
        pool / "more" / "a.png",
        pool / "more" / "inner" / "b.png",
    ):
        shutil.copy(first, place)
    (folder / "train" / CLASSES[0] / "single.png").symlink_to(pool / "single.png")
    (folder / "train" / CLASSES[0] / "linked").symlink_to(pool / "more")
    shutil.rmtree(folder / "val")
    (folder / "val").symlink_to("train")
    data = image_folder_data(path=folder)
    walked = [
        str(Path(inner) / file)
        for inner, folders, files in os.walk(folder / "train" / CLASSES[0], followlinks=True)
        for file in (folders.sort(), sorted(files))[1]
        if file.lower().endswith(".png")
    ]
    assert data._train.paths[: len(walked)] == walked
    assert [Path(path).name for path in walked] == ["0.PNG", "single.png", "a.png", "z.png", "b.png"]
    assert data.train_count == data.test_count == 10


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("train/bridge/x.png", "../canyon/0.PNG", "bridge/x.png is a link to .* the class canyon"),
        ("train/bridge/x", "../canyon", "bridge/x is a link to .* the class canyon"),
        ("train/bridge/x", "../../val/canyon", "bridge/x is a link to .* the class canyon"),
        ("train/bridge/x", "..", "bridge/x is a link to .* the class canyon"),
        ("train/bridge/x", "/", "bridge/x is a link to / ?, .* the class canyon"),
        ("train/bridge/x", ".", "train/bridge and .*/train/bridge/x are one folder, by a link"),
        ("val/zoo", "bridge", "a link to .* the class"),
        ("train/bridge/loop.png", "loop.png", "loop.png cannot be read"),
        ("train/bridge/gone.png", "gone", "gone.png cannot be read"),
    ],
)
def test_links_to_other_classes_and_loops_are_refused(folder: Path, link: str, target: str, message: str) -> None:
    (folder / link).symlink_to(target)
    if link == "val/zoo":
        (folder / "train" / "zoo").symlink_to("bridge")
    with pytest.raises(UserError, match=message):
        image_folder_data(path=folder)


def test_two_folders_that_lead_to_each_other_end(folder: Path, tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "next").symlink_to(tmp_path / other)
    (folder / "train" / CLASSES[0] / "outside").symlink_to(tmp_path / "one")
    with pytest.raises(UserError, match="are one folder, by a link"):
        image_folder_data(path=folder)


def test_a_pipe_is_no_image(folder: Path, places: Path) -> None:
    os.mkfifo(folder / "train" / CLASSES[0] / "pipe.jpg")
    with pytest.raises(UserError, match=r"pipe\.jpg is not a file"):
        image_folder_data(path=folder)
    listed = next((places / "val_256").iterdir())
    listed.unlink()
    os.mkfifo(listed)
    with pytest.raises(UserError, match=f"{listed.name}, which .*places365_val.txt lists, is not a file"):
        places365_data(path=places)


def test_what_is_not_trained_on_has_its_name(folder: Path, places: Path) -> None:
    assert image_folder_data(path=folder).test_part == "validation"
    assert places365_data(path=places).test_part == "validation"
    assert load_data_set("planted", train_count=10, test_count=10).test_part == "test"
