"""Test images that cannot be read are as many for several processes as for one, however they are shared out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_data import make_image_folder
from threaded_processes import in_threads
from torch import Tensor, nn

from acu_core.data.loading import load_data_set
from acu_core.errors import UserError
from acu_core.learn.evaluation import Evaluation, evaluate_network
from acu_core.learn.processes import ALONE, Processes


class _Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images.mean((2, 3)), -images.mean((2, 3))], dim=1)


def _folder(path: Path, broken: list[int]) -> Path:
    root = make_image_folder(path)
    files = sorted(file for file in (root / "val").rglob("*") if file.suffix in {".jpg", ".jpeg", ".PNG"})
    assert len(files) == 24
    for number in broken:
        files[number].write_bytes(b"no image")
    return root


def _evaluated(root: Path, processes: Processes = ALONE) -> Evaluation:
    data = load_data_set("imagefolder", path=root, workers=1, crop=24, resize=28, skip_broken=True)
    try:
        return evaluate_network(_Means(), data, batch_size=2, processes=processes)
    finally:
        data.close()


def test_all_of_one_share_is_no_more_than_they_are(tmp_path: Path) -> None:
    """Two of 24 may be left out, although they are more than a tenth of what each of two, three or twelve reads."""
    root = _folder(tmp_path / "images", [22, 23])
    alone = _evaluated(root)
    assert alone.images == 22
    for size in (2, 3, 12):
        assert in_threads(size, lambda processes: _evaluated(root, processes)) == [alone] * size


def test_too_many_are_too_many_wherever_they_are(tmp_path: Path) -> None:
    root = _folder(tmp_path / "images", [1, 12, 13])

    def said(processes: Processes) -> str:
        with pytest.raises(UserError, match="3 of 24 validation images cannot be read, the first of them") as raised:
            _evaluated(root, processes)
        return str(raised.value)

    alone = said(ALONE)
    assert in_threads(2, said) == [alone] * 2
