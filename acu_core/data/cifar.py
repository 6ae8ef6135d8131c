"""CIFAR-10 and CIFAR-100, found on disk and preprocessed as the paper's authors did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acu_core.data import torchvision_source
from acu_core.data.contrast import global_contrast_normalize
from acu_core.data.data_set import sha256_of
from acu_core.data.data_source import DataSource
from acu_core.data.held_out import hash_of_numbers, held_out_numbers
from acu_core.data.in_memory import InMemoryData
from acu_core.data.location import data_place
from acu_core.data.raw_images import RawImages, read_npz
from acu_core.data.statistics_cache import cached_whitening, hash_of
from acu_core.data.whitening import apply_zca, fit_zca
from acu_core.errors import Action, Remedy, UserError

SCALE = 55.0
BIAS = 0.1

_CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclasses.dataclass(frozen=True)
class Cifar:
    """One of the two: its name here, its title, torchvision's folder of it, and its classes in their order."""

    name: str
    title: str
    folder: str
    class_names: tuple[str, ...]


CIFAR10 = Cifar(
    "cifar10",
    "CIFAR-10",
    "cifar-10-batches-py",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Cifar(
    "cifar100",
    "CIFAR-100",
    "cifar-100-python",
    tuple(_CIFAR100_CLASSES.split()),
)


def cifar_data(
    cifar: Cifar,
    *,
    path: Path | None = None,
    download: bool = False,
    cache: Path | None = None,
    validation_images: int = 0,
    seed: int = 0,
) -> InMemoryData:
    """Images (N, 3, 32, 32) float32 after global contrast normalisation and ZCA whitening; labels (N,).

    `path` is an `.npz` file or a torchvision folder, see `find_cifar`. The statistics come from the training images
    alone, and are kept in `cache` under the hash of those images, whichever file they were read from. An `.npz` file
    may hold fewer or smaller images than CIFAR has: that is how tests train in seconds. Of `validation_images` that are
    held out of the training images, by `seed`, the statistics know as little as of the test images.

    Raises `UserError` when the data is missing or damaged.
    """
    found = find_cifar(cifar, path, download=download)
    if found.is_dir():
        raw = torchvision_source.read_cifar(cifar.title, cifar.folder, found, download=download)
    else:
        raw = read_npz(found, classes=len(cifar.class_names))
        _refuse_other_classes(cifar, raw)
    return _preprocessed(cifar, raw, cache, validation_images, seed)


def load_cifar(source: DataSource) -> InMemoryData:
    """`cifar_data` as a recipe asks for it, by name."""
    cifar = {known.name: known for known in (CIFAR10, CIFAR100)}[source.name]
    return cifar_data(
        cifar,
        path=source.path,
        download=source.download,
        cache=source.cache,
        validation_images=source.validation_images,
        seed=source.seed,
    )


def find_cifar(cifar: Cifar, path: Path | None = None, *, download: bool = False) -> Path:
    """The file or folder that `cifar_data` reads: `path`, else the environment variable `ACU_DATA`, else `./data`.

    A folder is torchvision's root (or its `cifar-10-batches-py`, `cifar-100-python` itself), or holds a `cifar10.npz`,
    `cifar100.npz`. With `download` a folder that has neither, or does not exist yet, is where the data will be put.

    Raises `UserError`, saying what was looked for and how to get it, when there is nothing.
    """
    place, origin = data_place(path)
    if place.is_file():
        return place
    if place.name == cifar.folder and place.is_dir():
        return place.parent
    if (place / cifar.folder).is_dir():
        return place
    if (place / f"{cifar.name}.npz").is_file():
        return place / f"{cifar.name}.npz"
    if download and place.suffix != ".npz":
        # torchvision wants a folder that exists; made here, so that the caller can tell a folder from a file.
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {place} for {cifar.title} cannot be made ({error}); name another.") from error
        return place
    problem = "is no folder that has it" if place.exists() else "does not exist"
    raise UserError(
        f"no {cifar.title}: {place} ({origin}) {problem}; it is read from an .npz file with MedMNIST's keys, or from a "
        f"folder that holds {cifar.name}.npz or torchvision's {cifar.folder}",
        Remedy(Action.DOWNLOAD, cifar.name),
    )


def _refuse_other_classes(cifar: Cifar, raw: RawImages) -> None:
    # CIFAR-10's labels are valid ones of CIFAR-100: the one mistake that would train for hours without a word. Some
    # images of the right data set have later labels too; from 50 images a class on, they have all classes by far.
    expected, present = len(cifar.class_names), len(np.unique(raw.train_labels))
    others = len(CIFAR10.class_names)
    smaller = expected > others and max(raw.train_labels.max(), raw.test_labels.max()) < others
    if smaller or (len(raw.train_labels) >= 50 * expected and present <= expected // 2):
        raise UserError(
            f"{raw.source} has {present} classes among {len(raw.train_labels)} training images"
            f"{f', all of labels below {others}, as {CIFAR10.title} has them' if smaller else ''}; {cifar.title} has "
            f"{expected}: name a file of {cifar.title}."
        )


def _preprocessed(cifar: Cifar, raw: RawImages, cache: Path | None, validation_images: int, seed: int) -> InMemoryData:
    images, labels, held_out = raw.train_images, raw.train_labels, None
    if validation_images:
        kept, held_out = held_out_numbers(len(images), validation_images, seed)
        images, labels = images[kept], labels[kept]
    train_images, test_images = _normalized(images), _normalized(raw.test_images)
    whitening = cached_whitening(
        f"gcn {SCALE} zca {BIAS} of {sha256_of([images])}",
        train_images[0].numel(),
        lambda: fit_zca(train_images, BIAS),
        cache,
    )
    fingerprint = {"data": raw.sha256(), "statistics": hash_of(whitening)}
    validation: dict[str, Any] = {}
    if held_out is not None:
        fingerprint["validation"] = hash_of_numbers(held_out)
        validation["validation_images"] = apply_zca(_normalized(raw.train_images[held_out]), whitening)
        validation["validation_labels"] = torch.from_numpy(raw.train_labels[held_out])
    return InMemoryData(
        name=cifar.name,
        train_images=apply_zca(train_images, whitening),
        train_labels=torch.from_numpy(labels),
        test_images=apply_zca(test_images, whitening),
        test_labels=torch.from_numpy(raw.test_labels),
        class_names=cifar.class_names,
        fingerprint=fingerprint,
        source=raw.source,
        **validation,
    )


def _normalized(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    # (C, H, W) is the order that the authors whitened in; the values do not depend on it, the cached matrix does.
    return global_contrast_normalize(torch.from_numpy(images).permute(0, 3, 1, 2), SCALE)
