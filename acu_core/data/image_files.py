"""Data sets of image files, too large for memory: decoded while training goes on, by processes of their own."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Generator, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from acu_core.data.batches import batch_indices
from acu_core.data.broken_images import BrokenImage, BrokenImages
from acu_core.data.data_set import DataSet
from acu_core.data.decoder_pool import DecoderPool, PendingBatch, Pixels, UnreadableImageError, automatic_workers
from acu_core.data.decoding_process import Unreadable
from acu_core.data.device_copy import sent
from acu_core.data.file_list import FileList, Int64
from acu_core.data.file_list_cache import ListedFiles
from acu_core.data.held_out import hash_of_numbers, held_out_numbers
from acu_core.data.image_decoding import DRAWS, Crops
from acu_core.data.randomness import generator_for
from acu_core.data.replacements import MOST_IN_A_ROW, replacements
from acu_core.errors import UserError

AHEAD = 2
"""Batches that are decoded before they are asked for."""

MOST_LEFT_OUT = 0.1
"""Of the test images: an evaluation on fewer than nine tenths is not that of this data set."""

IMAGE_NET_CROPS = Crops(224, 256, 0.08)
IMAGE_NET_MEAN = (0.485, 0.456, 0.406)
IMAGE_NET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How decoded images become the network's input: the crops, then (value / 255 - mean) / std for each channel."""

    crops: Crops = IMAGE_NET_CROPS
    mean: tuple[float, ...] = IMAGE_NET_MEAN
    std: tuple[float, ...] = IMAGE_NET_STD

    @staticmethod
    def of(
        *, crop: int, resize: int, smallest_crop: float, mean: Iterable[float], std: Iterable[float]
    ) -> Preprocessing:
        """From a recipe's options, which `acu_core.recipe.data_sets.image_files` has checked."""
        return Preprocessing(Crops(crop, resize, smallest_crop), tuple(mean), tuple(std))


class ImageFiles(DataSet):
    """Images (B, 3, size, size) float32 of files; see `DataSet`. Only the lists of the files are kept in memory.

    A training batch is a pure function of (seed, iteration, place in the batch), whatever the number of workers; the
    next `AHEAD` batches are decoded while the network trains. `workers` of 0 is automatic. The fingerprint is of
    the files' names, labels and sizes: reading a hundred gigabytes at every start would take longer than it is worth.

    An image that cannot be read is an error or, with `skip_broken`, left out and kept in `broken_images`: in training
    another image takes its place (see `replacements`), in evaluation it is not counted.
    """

    test_part = "validation"

    def __init__(
        self,
        name: str,
        files: ListedFiles,
        preprocessing: Preprocessing,
        *,
        root: str,
        workers: int = 0,
        skip_broken: bool = False,
    ) -> None:
        self.name = name
        self.class_names = files.class_names
        self.source = root
        self.workers = workers or automatic_workers()
        self.fingerprint: Mapping[str, str] = {"names_and_sizes": files.names_hash}
        self.broken_images = BrokenImages() if skip_broken else None
        self._train, self._test = files.train, files.test
        self._held_out: FileList | None = None
        self._preprocessing = preprocessing
        self._pool = DecoderPool(self.workers)
        self._ahead: dict[tuple[int, range, int, int, bool], PendingBatch] = {}
        self._device = torch.device("cpu")

    @property
    def channels(self) -> int:
        """Three: whatever the files hold becomes RGB."""
        return 3

    @property
    def train_count(self) -> int:
        """The number of training images."""
        return len(self._train.paths)

    @property
    def test_count(self) -> int:
        """The number of test images."""
        return len(self._test.paths)

    @property
    def validation(self) -> ImageFiles | None:
        """See `DataSet`; both share the decoding processes."""
        if self._held_out is None:
            return None
        evaluated = copy.copy(self)
        evaluated._test, evaluated._held_out = self._held_out, None
        # Else a file of the training folder that cannot be read would be called one of the validation folder.
        evaluated.test_part = "held-out"
        return evaluated

    def hold_out(self, count: int, seed: int) -> ImageFiles:
        """See `DataSet`; which images are called "validation" here, `test_part` says, are the test images still."""
        kept, held_out = held_out_numbers(self.train_count, count, seed)
        divided = copy.copy(self)
        divided._train, divided._held_out = self._train.part(kept), self._train.part(held_out)
        divided._ahead = {}
        divided.fingerprint = {**self.fingerprint, "validation": hash_of_numbers(held_out)}
        return divided

    def to(self, device: torch.device | str) -> ImageFiles:
        """The same data set with its batches on `device`; both share the decoding processes."""
        moved = copy.copy(self)
        moved._device = torch.device(device)
        return moved

    def training_batch(
        self, iteration: int, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `DataSet`; the crops are those of `Crops`, so a `crop_padding` is refused."""
        return self.training_rows(
            iteration, range(batch_size), batch_size=batch_size, seed=seed, crop_padding=crop_padding, mirror=mirror
        )

    def training_rows(
        self, iteration: int, rows: range, *, batch_size: int, seed: int, crop_padding: int = 0, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `DataSet`: only these are read."""
        if crop_padding:
            raise UserError("crop_padding is for images in memory: image files are cropped by their own options.")
        wanted = [(number, rows, batch_size, seed, mirror) for number in range(iteration, iteration + 1 + AHEAD)]
        for key in [key for key in self._ahead if key not in wanted]:
            self._ahead.pop(key).cancel()
        for key in wanted:
            if key not in self._ahead:
                self._ahead[key] = self._begin(*key)
        part = slice(rows.start, rows.stop)
        indices = batch_indices(self.train_count, batch_size, seed=seed, iteration=iteration)[part].numpy()
        pending = self._ahead.pop(wanted[0])
        if self.broken_images is not None:
            draws = _crop_draws(batch_size, seed, iteration)
            pixels, indices = self._with_replacements(
                pending, indices, rows, draws, iteration=iteration, seed=seed, mirror=mirror
            )
        else:
            pixels = pending.result()
        return self._normalized(pixels), sent(torch.from_numpy(self._train.labels[indices]), self._device)

    def test_batches(self, batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See `DataSet`; a batch of which no image can be read is passed over, where broken images are left out."""
        yield from self.some_test_batches(batch_size, range(-(-self.test_count // batch_size)))

    def some_test_batches(self, batch_size: int, numbers: range) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See `DataSet`: only these are read."""
        pending: deque[PendingBatch] = deque()
        left_out: list[Unreadable] = []
        starts = range(numbers.start * batch_size, numbers.stop * batch_size, batch_size)
        try:
            for number, start in enumerate(starts):
                for later in starts[number + len(pending) : number + 1 + AHEAD]:
                    paths = self._test.paths[later : later + batch_size]
                    pending.append(self._pool.decode(paths, self._preprocessing.crops))
                labels = self._test.labels[start : start + batch_size]
                if self.broken_images is not None:
                    pixels, labels = self._without_broken(pending.popleft(), labels, left_out)
                else:
                    pixels = pending.popleft().result()
                if len(pixels):
                    yield self._normalized(pixels), sent(torch.from_numpy(labels), self._device)
        finally:
            for batch in pending:
                batch.cancel()

    def check_left_out(self, number: int, first: BrokenImage | Unreadable) -> None:
        """See `DataSet`."""
        if number > max(1, MOST_LEFT_OUT * self.test_count) or number == self.test_count:
            raise UnreadableImageError(
                f"{number} of {self.test_count} {self.test_part} images cannot be read, the first of them "
                f"{first.path} ({first.reason}): see whether {self.source} is still there and whole"
            )

    def rest(self) -> None:
        """Lets go of what is being decoded ahead, and returns when the processes have nothing left to do."""
        for key in list(self._ahead):
            self._ahead.pop(key).abandon()

    def close(self) -> None:
        """Ends the decoding processes, which otherwise end when the data set is forgotten."""
        self._pool.close()

    def _begin(self, iteration: int, rows: range, batch_size: int, seed: int, mirror: bool) -> PendingBatch:
        part = slice(rows.start, rows.stop)
        indices = batch_indices(self.train_count, batch_size, seed=seed, iteration=iteration)[part]
        paths = [self._train.paths[index] for index in indices.tolist()]
        draws = _crop_draws(batch_size, seed, iteration)[part]
        return self._pool.decode(paths, self._preprocessing.crops, draws, mirror=mirror)

    def _with_replacements(
        self,
        pending: PendingBatch,
        indices: Int64,
        rows: range,
        draws: list[list[float]],
        *,
        iteration: int,
        seed: int,
        mirror: bool,
    ) -> tuple[Pixels, Int64]:
        """The pixels, and the indices of the images that are really in them; `rows` are their places in the batch.

        `draws` are those of the whole batch: a place keeps its crop, whatever image comes there.
        """
        pixels, unreadable = pending.what_can_be_read()
        indices = indices.copy()
        for broken in unreadable:
            self._leave_out(broken, "train")
            row = rows[broken.place]
            for index in replacements(self.train_count, seed=seed, iteration=iteration, row=row):
                path = self._train.paths[index]
                other = self._pool.decode([path], self._preprocessing.crops, draws[row : row + 1], mirror=mirror)
                found, again = other.what_can_be_read()
                if not again:
                    pixels[broken.place], indices[broken.place] = found[0], index
                    break
                self._leave_out(again[0], "train")
            else:
                raise UnreadableImageError(
                    f"{MOST_IN_A_ROW + 1} images in a row cannot be read, the first of them {broken.path} "
                    f"({broken.reason}): see whether {self.source} is still there and whole"
                )
        return pixels, indices

    def _without_broken(self, pending: PendingBatch, labels: Int64, left_out: list[Unreadable]) -> tuple[Pixels, Int64]:
        """The pixels and labels of those test images that can be read; others are added to `left_out`."""
        pixels, unreadable = pending.what_can_be_read()
        if not unreadable:
            return pixels, labels
        for broken in unreadable:
            self._leave_out(broken, self.test_part)
        left_out += unreadable
        self.check_left_out(len(left_out), left_out[0])
        places = [broken.place for broken in unreadable]
        return np.delete(pixels, places, axis=0), np.delete(labels, places)

    def _leave_out(self, broken: Unreadable, part: str) -> None:
        if self.broken_images is not None:
            self.broken_images.add(BrokenImage(broken.path, broken.reason, part))

    def _normalized(self, pixels: Pixels) -> Tensor:
        # Bytes travel to the device, a quarter of what floats would be; and bytes are put in order, not floats.
        images = sent(torch.from_numpy(pixels), self._device).permute(0, 3, 1, 2).contiguous().float()
        mean, std = (
            sent(torch.tensor(values), self._device).view(-1, 1, 1)
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )
        return images.div_(255).sub_(mean).div_(std)


def _crop_draws(batch_size: int, seed: int, iteration: int) -> list[list[float]]:
    draws: list[list[float]] = generator_for(seed, "image crops", iteration).random((batch_size, DRAWS)).tolist()
    return draws
