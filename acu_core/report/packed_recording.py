"""A recording in few bytes: positions to a hundredth of a pixel, weight norms to a hundredth of themselves.

    all of it is compressed by zlib and is whole numbers, each in groups of seven bits, the lowest first; the eighth bit
    of a byte says that more follow. A signed number n is 2n, or -2n - 1 below zero.

    iterations   the first; how many stretches follow; for each the distance of its iterations, and how many there are
    knots        how many each series has
    moments      of the knots of each series after the first, as distances from the knot before
    values       of the knots of each series, signed, as distances from the value of the knot before (the first: from 0)

The series are, in this order: for each layer, group and synapse the positions' y, then x; then for each layer, group
and synapse the natural logarithm of its weight norm. A value is in whole steps, given beside the bytes. Between knots a
series is a straight line over the moments (the snapshots counted from 0), not over the iterations.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acu_core.render.recording import Recording
from acu_core.report.thinning import Floats, Integers, Knots, thin

NEAREST = 0.01
"""Input pixels that a position may be off, as a distance; much more costs much less room, less is not seen."""
_FINEST = 0.0025
_NORM_TOLERANCE = math.log(1.01)
# Of the compressed bytes, which base64 makes a third larger. Within the first the finest positions are taken. What is
# off by more than NEAREST is taken only beyond the second, for then an e-mail would not carry it.
_SMALL = 200_000
_LARGEST = 680_000
_LARGEST_PER_SERIES = _LARGEST // (6 * 9 * 3)
# Numbers that are thinned at once: enough that NumPy works on thousands, and few enough for the memory.
_BLOCK = 4_000_000
# A weight norm of 0 has no logarithm, and one that is not finite no number: these stand for them.
SMALLEST_LOGARITHM = -80.0
NOT_FINITE = 90.0


@dataclass(frozen=True)
class PackedRecording:
    """The bytes, and what they hold: steps of a position and of a norm's logarithm, and how far off they are at most.

    `position_error` is a distance in input pixels, `norm_error` a share of the norm; both were measured at every
    snapshot. `series` is how many there are; `moved` how far each layer's synapses are from where they began at the
    last snapshot, their root mean square in input pixels and as the packed positions have it, so that the page says one
    number.
    """

    content: bytes
    position_step: float
    norm_step: float
    position_error: float
    norm_error: float
    series: int
    moved: dict[str, float]


def pack(recording: Recording) -> PackedRecording:
    """Packs every snapshot. Positions are off by at most NEAREST, unless that would make a page that nobody can send.

    `position_error` then says so. No page of six layers of nine synapses that were trained as the paper does comes
    near that.
    """
    largest = max(float(np.abs(values).max()) for values in recording.positions.values())
    # Of positions that have run away, steps of a hundredth would be more than a whole number counts exactly.
    tolerance = max(NEAREST, largest * 2.0**-44)
    packed = _pack(recording, tolerance)
    # Every halving costs about twice the room or more, so that this is not tried in vain.
    if 4 * len(packed.content) <= _SMALL and tolerance == NEAREST:
        finer = _pack(recording, _FINEST)
        return finer if len(finer.content) <= _SMALL else packed
    limit = max(_LARGEST, packed.series * _LARGEST_PER_SERIES)
    while len(packed.content) > limit:
        tolerance *= 2
        packed = _pack(recording, tolerance)
    return packed


def unpack(content: bytes, series: int) -> tuple[Integers, list[Knots]]:
    """The iterations (T,) and the knots of each series: what the page's own decoder does, for who wants to check."""
    numbers = _read_numbers(zlib.decompress(content))
    first, stretches = next(numbers), next(numbers)
    distances = [np.zeros(1, np.int64)]
    for _ in range(stretches):
        distance, count = next(numbers), next(numbers)
        distances.append(np.full(count, distance, np.int64))
    counts = [next(numbers) for _ in range(series)]
    moments = [np.cumsum([0, *(next(numbers) for _ in range(count - 1))]) for count in counts]
    values = [np.cumsum([_signed(next(numbers)) for _ in range(count)]) for count in counts]
    found = [Knots(m, v) for m, v in zip(moments, values, strict=True)]
    return first + np.cumsum(np.concatenate(distances)), found


def _pack(recording: Recording, distance: float) -> PackedRecording:
    tolerance, norm_tolerance = distance / math.sqrt(2), _NORM_TOLERANCE * max(1.0, distance / NEAREST)
    position_step, norm_step = _step(tolerance), _step(norm_tolerance)
    knots, position_error, norm_error = [], 0.0, 0.0
    moments = np.arange(len(recording.iterations))
    for block in _blocks(recording.positions):
        # A little less, so that what rounding adds does not exceed what was promised.
        found = thin(block, 0.998 * tolerance, position_step)
        knots += found
        off = np.stack([k.at(moments, position_step) for k in found]) - block
        position_error = max(position_error, float(np.hypot(off[0::2], off[1::2]).max()))
    for block in _blocks(recording.weight_norms):
        logarithms = _logarithms(block)
        found = thin(logarithms, 0.998 * norm_tolerance, norm_step)
        knots += found
        off = np.stack([k.at(moments, norm_step) for k in found]) - logarithms
        norm_error = max(norm_error, float(np.abs(np.expm1(off)).max()))
    content = zlib.compress(_encode(recording.iterations, knots), 9)
    moved = np.array([k.values[-1] - k.values[0] for k in knots[: 2 * len(knots) // 3]]) * position_step
    squares = moved[0::2] ** 2 + moved[1::2] ** 2
    ends = np.cumsum([values[0].size for values in recording.weight_norms.values()])
    of_layers = zip(recording.positions, np.split(squares, ends[:-1]), strict=True)
    movement = {name: float(np.sqrt(part.mean())) for name, part in of_layers}
    return PackedRecording(content, position_step, norm_step, position_error, norm_error, len(knots), movement)


def _blocks(layers: dict[str, npt.NDArray[np.float32]]) -> Iterator[Floats]:
    """Values (T, ...) of all layers as series (S, T), an even number at a time, so that memory stays bounded."""
    waiting: list[Floats] = []
    for values in layers.values():
        series = values.reshape(len(values), -1)
        most = max(2, _BLOCK // len(values) // 2 * 2)
        for start in range(0, series.shape[1], most):
            waiting.append(np.ascontiguousarray(series[:, start : start + most].T, np.float64))
            if sum(map(np.size, waiting)) > _BLOCK / 2:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _logarithms(norms: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.maximum(np.log(norms), SMALLEST_LOGARITHM)
    return np.where(np.isfinite(found), found, NOT_FINITE)


def _step(tolerance: float) -> float:
    """A power of a half, so that positions on the grid are exact; well below twice the tolerance."""
    return float(2.0 ** math.floor(math.log2(1.2 * tolerance)))


def _encode(iterations: Integers, knots: list[Knots]) -> bytes:
    distances = np.diff(iterations)
    changes = np.flatnonzero(np.diff(distances)) + 1
    stretches = [part for part in np.split(distances, changes) if len(part)]
    head = [int(iterations[0]), len(stretches)]
    for part in stretches:
        head += [int(part[0]), len(part)]
    head += [len(k.moments) for k in knots]
    moments = np.concatenate([np.diff(k.moments) for k in knots])
    values = np.concatenate([np.diff(k.values, prepend=0) for k in knots])
    signed = np.where(values < 0, -2 * values - 1, 2 * values)
    return b"".join(_encode_numbers(numbers) for numbers in (np.array(head), moments, signed))


def _encode_numbers(numbers: Integers) -> bytes:
    written = bytearray()
    for number in numbers.tolist():
        while number > 127:
            written.append(number & 127 | 128)
            number >>= 7
        written.append(number)
    return bytes(written)


def _read_numbers(content: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0


def _signed(number: int) -> int:
    return -(number + 1) // 2 if number & 1 else number // 2
