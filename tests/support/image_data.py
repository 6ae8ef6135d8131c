"""Small data sets of image files, in the layouts of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bridge", "canyon", "forest", "harbor", "market", "tower")


def picture(draw: np.random.Generator, label: int, width: int, height: int) -> Image.Image:
    """Coarse noise around a colour that tells the class, so that a network can learn it."""
    colour = np.array([40 * label % 256, 255 - 40 * label % 256, 90 * label % 256])
    noise = draw.normal(0, 30, (4, 4, 3))
    pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def make_image_folder(root: Path, *, each: int = 4, size: int = 40) -> Path:
    """root/train/<class>/ and root/val/<class>/, in sizes and file types that differ from image to image."""
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(each):
                width, height = (int(side) for side in draw.integers(size // 2, size * 2, 2))
                image = picture(draw, label, width, height)
                if number % 4 == 0:
                    image.save(folder / f"{number}.PNG")
                elif number % 4 == 1:
                    image.convert("L").save(folder / f"{number}.jpeg")
                else:
                    image.save(folder / f"{number}.jpg")
            (folder / "notes.txt").write_text("not an image")
    return root


def make_places365(root: Path, *, large: bool = False, each: int = 3) -> Path:
    """The lists and folders that torchvision's Places365 has, with six categories instead of 365."""
    draw = np.random.default_rng(1)
    size = "large" if large else "256"
    train_folder, val_folder = root / f"data_{size}_standard", root / f"val_{size}"
    train, val = [], []
    for label, name in enumerate(CLASSES):
        (train_folder / name[0] / name).mkdir(parents=True)
        for number in range(each):
            file = f"/{name[0]}/{name}/{number:08}.jpg"
            picture(draw, label, 64, 64).save(train_folder / file[1:])
            train.append(f"{file} {label}")
    val_folder.mkdir()
    for number, label in enumerate(draw.permutation(2 * len(CLASSES)) % len(CLASSES)):
        file = f"Places365_val_{number:08}.jpg"
        picture(draw, int(label), 64, 64).save(val_folder / file)
        val.append(f"{file} {label}")
    categories = [f"/{name[0]}/{name} {label}" for label, name in enumerate(CLASSES)]
    (root / "categories_places365.txt").write_text("\n".join(categories) + "\n")
    (root / "places365_train_standard.txt").write_text("\n".join(train) + "\n")
    (root / "places365_val.txt").write_text("\n".join(val) + "\n")
    return root
