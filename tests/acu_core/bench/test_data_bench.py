"""Reading images beside a DataLoader: that both read the same, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from acu_cli.app import app
from acu_cli.remedies import worded
from acu_core.bench.made_up_photos import make_photos
from acu_core.data.image_folder import image_folder_data
from acu_core.errors import UserError

pytest.importorskip("torchvision", exc_type=ImportError)


def test_photos_are_made_as_they_are_described(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 10)
    files = sorted((tmp_path / "photos" / "train").rglob("*.jpg"))
    assert len(files) == 10
    with Image.open(files[0]) as image:
        assert (image.size, image.mode, image.format) == ((500, 400), "RGB", "JPEG")
    assert 25_000 < sum(file.stat().st_size for file in files) / 10 < 90_000
    data = image_folder_data(path=tmp_path / "photos", workers=1)
    assert (data.classes, data.train_count, data.test_count) == (4, 10, 4)
    with pytest.raises(UserError, match="is there already"):
        make_photos(tmp_path / "photos", 10)


def test_both_read_the_same_images(tmp_path: Path) -> None:
    arguments = ["--make", "12", "--rounds", "2", "--batch", "6", "--batches", "3", "--workers", "1", "--crop", "64"]
    result = CliRunner().invoke(app, ["bench", "data", str(tmp_path / "photos"), *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["workers"], found["batch"], found["batches"], found["crop"]) == (1, 6, 3, 64)
    assert found["machine"]["torch"] == torch.__version__
    # Without random crops, they give the same: rounding alone is left.
    assert found["validation_difference"] < 1e-5
    for name in ("acu", "data_loader"):
        assert found[name]["seconds"]["rounds"] == 2
        assert found[name]["images_a_second"] == pytest.approx(18 / found[name]["seconds"]["median"])
    # With crops of their own, about the same: a mean of 118 of 255 is near ImageNet's.
    assert found["acu"]["mean"] == pytest.approx(found["data_loader"]["mean"], abs=0.2)
    assert found["acu"]["std"] == pytest.approx(found["data_loader"]["std"], abs=0.2)


def test_what_is_no_image_folder_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "data", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    message = str(result.exception)
    assert "no image folder" in message
    # The folder is the command's argument: no option names it, and the other way out is to have one made.
    assert "--make" in message
    assert "--data" not in worded(message, result.exception.remedies)
