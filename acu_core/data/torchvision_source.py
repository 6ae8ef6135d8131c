"""Data sets from the folders that torchvision keeps. The one place in the data that imports torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from acu_core.data.raw_images import RawImages
from acu_core.errors import Action, Remedy, UserError


def read_cifar(title: str, folder: str, root: Path, *, download: bool = False) -> RawImages:
    """The 50,000 + 10,000 images in `root`/`folder`, which `download` fetches if they are not there.

    `title` is CIFAR-10 or CIFAR-100, whose labels are the fine ones. Raises `UserError` when torchvision is missing or
    does not load, the files are missing or damaged (torchvision checks their MD5), or the download fails.
    """
    datasets = _datasets(f"reading {title} from {root}", "give an .npz file instead")
    data_set = getattr(datasets, title.replace("-", ""))
    try:
        train = data_set(str(root), train=True, download=download)
        test = data_set(str(root), train=False)
    except Exception as error:
        if download:
            raise UserError(
                f"{title} could not be downloaded to {root} ({error}); check the network and the disk, "
                "or give the data as a torchvision folder or an .npz file"
            ) from error
        raise UserError(
            f"{root} holds no complete copy of {title} as torchvision stores it, in {folder} ({error})",
            Remedy(Action.DOWNLOAD, title),
        ) from error
    return RawImages(
        train_images=np.asarray(train.data, dtype=np.uint8),
        train_labels=np.asarray(train.targets, dtype=np.int64),
        test_images=np.asarray(test.data, dtype=np.uint8),
        test_labels=np.asarray(test.targets, dtype=np.int64),
        source=str(root.resolve()),
    )


def download_fashion_mnist(root: Path) -> None:
    """Fetches the four files of Fashion-MNIST, 30 MB, into torchvision's folder in `root`, which is made.

    Raises `UserError` when torchvision does not load or the download fails.
    """
    datasets = _datasets("downloading Fashion-MNIST", "download it by hand")
    try:
        root.mkdir(parents=True, exist_ok=True)
        datasets.FashionMNIST(str(root), train=True, download=True)
    except Exception as error:
        raise UserError(
            f"Fashion-MNIST could not be downloaded to {root} ({error}); check the network and the disk."
        ) from error


def download_places365(root: Path) -> None:
    """Fetches the lists and the small (256 x 256) images of Places365, 25 GB, into `root`, which is made.

    What is there already is not fetched again. Raises `UserError` when torchvision does not load or a download fails.
    """
    datasets = _datasets("downloading Places365", "download it by hand")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for split in ("val", "train-standard"):
            datasets.Places365(str(root), split=split, small=True, download=True)
    except Exception as error:
        raise UserError(
            f"Places365 could not be downloaded to {root} ({error}); check the network and the disk."
        ) from error


def _datasets(purpose: str, instead: str) -> Any:
    # torchvision's wheel raises RuntimeError beside a torch that it was not built for.
    try:
        import torchvision.datasets as datasets
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"{purpose} needs torchvision, which does not load here ({error}); install torchvision, or {instead}."
        ) from error
    return datasets
