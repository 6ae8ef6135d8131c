"""CIFAR-10 from the folder that torchvision keeps. The one place that imports torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acu_core.data.raw_images import RawImages
from acu_core.errors import UserError

FOLDER = "cifar-10-batches-py"


def read_cifar10(root: Path, *, download: bool = False) -> RawImages:
    """The 50,000 + 10,000 images in `root`/cifar-10-batches-py, which `download` fetches if they are not there.

    Raises `UserError` when torchvision is missing or does not load, the files are missing or damaged (torchvision
    checks their MD5), or the download fails.
    """
    # torchvision's wheel raises RuntimeError beside a torch that it was not built for.
    try:
        from torchvision.datasets import CIFAR10
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"reading CIFAR-10 from {root} needs torchvision, which does not load here ({error}); "
            "install torchvision, or give an .npz file instead."
        ) from error
    try:
        train = CIFAR10(str(root), train=True, download=download)
        test = CIFAR10(str(root), train=False)
    except Exception as error:
        if download:
            raise UserError(
                f"CIFAR-10 could not be downloaded to {root} ({error}); check the network and the disk, "
                "or give the data as a torchvision folder or an .npz file."
            ) from error
        raise UserError(
            f"{root} holds no complete copy of CIFAR-10 as torchvision stores it, in {FOLDER} ({error}); "
            "allow the download, or give another folder or an .npz file."
        ) from error
    return RawImages(
        train_images=np.asarray(train.data, dtype=np.uint8),
        train_labels=np.asarray(train.targets, dtype=np.int64),
        test_images=np.asarray(test.data, dtype=np.uint8),
        test_labels=np.asarray(test.targets, dtype=np.int64),
        source=str(root.resolve()),
    )
