"""The checks of one device's kernels, each named, against the reference."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from acu_core.op import functional, library
from acu_core.op.paddings import Paddings
from acu_core.verify import gather, repetition
from acu_core.verify.case import (
    CASES,
    DTYPES,
    EMPTY,
    LARGE,
    LAYOUTS,
    ONE_PIXEL,
    Case,
    Results,
    Tensors,
    in_layout,
    right,
    run,
)
from acu_core.verify.deviation import EXACT, Deviation, deviation, worst

SCRATCH = {"a row of columns": 1, "cut images": 3_000, "several images": 60_000}
"""Bytes for the columns of a call on CUDA, and what they make of the small cases."""
NONFINITE = (math.inf, -math.inf, math.nan)


@dataclass(frozen=True)
class Check:
    """A check: its name, what it compares with what, and the function that makes it."""

    name: str
    compared: str
    make: Callable[[], Deviation]


def parity_checks(device: torch.device) -> Iterator[Check]:
    """Values and gradients in all dtypes and layouts, small and large, none and one pixel."""
    for dtype in DTYPES:
        for layout in LAYOUTS:
            check = functools.partial(agreement, device, CASES, (dtype,), (layout,))
            yield Check(f"{_name(dtype)}, {layout}", f"values and gradients of {len(CASES)} shapes, reference", check)
    large = functools.partial(agreement, device, LARGE, DTYPES if device.type == "cuda" else DTYPES[:2])
    yield Check("large shapes", f"values and gradients of {len(LARGE)} shapes in parts, reference", large)
    if device.type == "cuda":
        for name, count in SCRATCH.items():
            compared = f"values and gradients of {len(CASES)} shapes with {count:,} bytes of scratch, reference"
            yield Check(f"slices: {name}", compared, functools.partial(in_slices, device, count))
    yield Check("no images", "shapes, and gradients that are 0", functools.partial(agreement, device, EMPTY))
    yield Check(
        "1x1 images", "values and gradients, reference", functools.partial(agreement, device, ONE_PIXEL, DTYPES[:2])
    )


def value_checks(device: torch.device) -> Iterator[Check]:
    """inf and NaN, and positions that are not finite."""
    yield Check("inf and NaN in images", "where they arrive, corner by corner", functools.partial(nonfinite, device))
    refused = "NaN where they count" if device.type == "cuda" else "that they are refused"
    yield Check("positions that are not finite", refused, functools.partial(nonfinite_positions, device))


def autocast_checks(device: torch.device) -> Iterator[Check]:
    """Autocast to both dtypes of 16 bits."""
    for dtype in (torch.bfloat16, torch.float16):
        yield Check(
            f"autocast to {_name(dtype)}",
            "values, gradients and dtypes, reference of the rounded arguments",
            functools.partial(autocast, device, dtype),
        )


def repeated_check(device: torch.device) -> Check:
    """Twenty repeats."""
    compared = f"bits of values and gradients with those of the first of {repetition.REPEATS} repeats"
    return Check("the same bits again", compared, functools.partial(repetition.repeated, device))


@functools.lru_cache(maxsize=256)
def _expected(case: Case, dtype: torch.dtype) -> Results:
    # The numbers are the same in every layout, and for every instruction set.
    return right(case, case.draw(dtype))


def agreement(
    device: torch.device,
    cases: Sequence[Case],
    dtypes: Sequence[torch.dtype] = DTYPES,
    layouts: Sequence[str] = LAYOUTS[:2],
) -> Deviation:
    """The operator beside the reference, for all cases in all dtypes and layouts; the output's layout too."""
    found = []
    for case in cases:
        for dtype in dtypes:
            for layout in layouts:
                tensors = case.draw(dtype, layout)
                found.append(agrees(case, tensors, run(case, tensors.to(device)), _expected(case, dtype)))
    return worst(found)


def agrees(case: Case, tensors: Tensors, actual: Results, expected: Results) -> Deviation:
    """How far `actual` is from what is expected; infinitely far where a channels_last image has lost its layout."""
    plain = tensors.input.is_contiguous()
    if tensors.input.is_contiguous(memory_format=torch.channels_last) and not plain:
        for name in ("output", "input"):
            if not getattr(actual, name).is_contiguous(memory_format=torch.channels_last):
                return Deviation(math.inf, 0.0, f"{case.name}: {name} is not in channels_last")
    return deviation(case, tensors, actual, expected)


def in_slices(device: torch.device, count: int) -> Deviation:
    """The small cases with little scratch memory, so that images are cut and slices add up."""
    with library.with_cuda_scratch_bytes(count):
        return agreement(device, (*CASES, *EMPTY, *ONE_PIXEL))


def nonfinite(device: torch.device) -> Deviation:
    """inf and NaN must reach the outputs that see them, and no others; those are compared in value."""
    case = Case("inf and NaN", size=(7, 8), synapses=4, padding=Paddings(1, 1, 1, 1))
    found = []
    for channels, outputs, images in ((1, 2, 1), (9, 2, 1), (16, 2, 1), (36, 33, 4)):
        for stride in ((1, 1), (2, 3)):
            shape = replace(case, images=images, channels=channels, outputs=outputs, stride=stride)
            for kind in ("near", "integer", "beside"):
                tensors = replace(shape, positions=kind).draw(torch.float32)
                tensors.positions[:, 1] = 0
                for value in NONFINITE:
                    tensors.input[0, channels // 2, 3, 5] = value  # the centre of an output sees it with both strides
                    tensors.input[0, 0, 0, 7] = value
                    expected = gather.gathered(shape, tensors)
                    where = f"{value}, {kind}, {channels} channels"
                    found += [_nonfinite(shape, tensors, expected, layout, device, where) for layout in LAYOUTS]
    return worst(found)


def _nonfinite(
    case: Case, tensors: Tensors, expected: torch.Tensor, layout: str, device: torch.device, where: str
) -> Deviation:
    given = tensors._replace(input=in_layout(tensors.input, layout)).to(device)
    actual = functional.active_conv2d(given.input, given.weight, given.positions, None, *case.settings).cpu()
    where = f"{where}, {layout}"
    for name, test in (("NaN", torch.isnan), ("inf", torch.isinf)):
        if not torch.equal(test(actual), test(expected)):
            return Deviation(math.inf, 0.0, f"{where}: {name} arrives elsewhere")
    finite = torch.isfinite(expected)
    if bool(finite.all()) or not bool(finite.any()):
        raise AssertionError(f"{where}: the check itself sees nothing")
    correct = expected[finite]
    error = float((actual[finite].double() - correct).norm() / correct.norm())
    return Deviation(error, EXACT[torch.float32], where)


def nonfinite_positions(device: torch.device) -> Deviation:
    """On the CPU they are refused; on CUDA what they feed is NaN, as asking would wait for the device."""
    case = Case("positions", images=1, channels=1, outputs=1, size=(4, 4))
    wrong = []
    for value in NONFINITE:
        tensors = case.draw(torch.float32)
        tensors.positions[0, 3, 1] = value
        try:
            output = run(case, tensors.to(device)).output
        except ValueError:
            good = device.type == "cpu"
        else:
            good = device.type == "cuda" and bool(torch.isnan(output).all())
        if not good:
            wrong.append(str(value))
    return Deviation(float(len(wrong)), 0.0, ", ".join(wrong))


def autocast(device: torch.device, dtype: torch.dtype) -> Deviation:
    """Under autocast all but the positions are cast: the results are those of the rounded arguments."""
    found = []
    for case in CASES:
        rounded = case.draw(dtype)
        # float32 with the digits of the other, so that casting it changes no number.
        given = Tensors(*(tensor.float() for tensor in rounded))._replace(grad_output=rounded.grad_output)
        placed = given.to(device)
        with torch.autocast(device.type, dtype=dtype):
            actual = run(case, placed)
        if actual.output.dtype != dtype or actual.weight.dtype != torch.float32:
            return Deviation(math.inf, 0.0, f"{case.name}: dtype")
        # The gradients come back in the arguments' dtype, with the digits of the other.
        cast = Results(*(result if name == "positions" else result.to(dtype) for name, result in _named(actual)))
        found.append(deviation(case, rounded, cast, _expected(case, dtype)))
    return worst(found)


def _named(values: Tensors | Results) -> Iterator[tuple[str, torch.Tensor]]:
    return zip(values._fields, values, strict=True)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def elsewhere(device: torch.device, kernels: str, answers: Callable[[], dict[str, dict[str, str]]]) -> Deviation:
    """The digests of this process beside those of another."""
    return repetition.compared(repetition.digests(device, kernels), answers()[kernels])
