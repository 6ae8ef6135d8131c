"""Timing on a GPU, with a made-up one whose clock moves only when something runs on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from acu_core.bench import operator_bench
from acu_core.bench.contestants import Contestant, Shape, make_contestants
from acu_core.bench.device_clock import DeviceClock, Event
from acu_core.bench.operator_bench import measure_operator
from acu_core.errors import UserError

LAUNCH, KERNEL = 0.010, 0.002
"""Seconds: what a program takes to launch a kernel of the made-up GPU, and what that takes to run it."""


@dataclass
class MadeUpEvent:
    device: MadeUpDevice
    time: float | None = None

    def record(self) -> None:
        self.time = self.device.time

    def elapsed_time(self, end_event: Event) -> float:
        assert isinstance(end_event, MadeUpEvent)
        assert self.device.is_done
        assert self.time is not None
        assert end_event.time is not None
        return 1e3 * (end_event.time - self.time)


class MadeUpDevice:
    """Kernels, each launched by hand, or several replayed as a graph."""

    def __init__(self) -> None:
        self.time = 0.0
        self.is_done = True
        self.captured: list[Callable[[], object]] = []
        self._kernels_of_capture: int | None = None

    def synchronize(self) -> None:
        self.is_done = True

    def event(self) -> Event:
        return MadeUpEvent(self)

    def launch(self) -> None:
        if self._kernels_of_capture is not None:
            self._kernels_of_capture += 1
            return
        self.time += LAUNCH + KERNEL
        self.is_done = False

    def wait(self) -> None:
        if self._kernels_of_capture is not None:
            raise RuntimeError("operation not permitted when stream is capturing")

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        self._kernels_of_capture = 0
        try:
            run()
            kernels = self._kernels_of_capture
        finally:
            self._kernels_of_capture = None
        self.captured.append(run)

        def replay() -> None:
            self.time += kernels * KERNEL
            self.is_done = False

        return replay


def test_a_call_is_timed_with_its_launches_and_a_replay_without() -> None:
    device = MadeUpDevice()
    clock = DeviceClock(device, replays=5)

    def run() -> None:
        device.launch()
        device.launch()

    assert clock.call(run) == pytest.approx(2 * (LAUNCH + KERNEL))
    replaying = clock.replaying(run)
    assert replaying is not None
    assert replaying() == pytest.approx(2 * KERNEL)
    before = device.time
    replaying()
    assert device.time - before == pytest.approx(5 * 2 * KERNEL)


def test_what_waits_for_the_device_is_not_replayed() -> None:
    device = MadeUpDevice()

    def run() -> None:
        device.launch()
        device.wait()

    clock = DeviceClock(device)
    assert clock.replaying(run) is None
    assert clock.call(run) == pytest.approx(LAUNCH + KERNEL)


def test_a_shape_is_timed_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(2, 4, 6, 7, 8, 9, 2)
    device = MadeUpDevice()
    # Whatever a contestant really does here on the CPU, the made-up GPU has so many launches for it.
    launches = {"acu": 3, "conv": 1, "dens": 7, "defo": 20, "DCLS": 9}
    names: dict[int, str] = {}

    def contestants(*arguments: object, **options: object) -> dict[str, Contestant]:
        found = make_contestants(*arguments, **options)  # type: ignore[arg-type]
        names.update({id(contestant): name for name, contestant in found.items()})
        return found

    def run(self: Contestant, times: int) -> None:
        for _ in range(times * launches[names[id(self)][:4].strip()]):
            device.launch()

    monkeypatch.setattr(operator_bench, "make_contestants", contestants)
    monkeypatch.setattr(Contestant, "run_forward", lambda self: run(self, 1))
    monkeypatch.setattr(Contestant, "run", lambda self: run(self, 2))
    rows = {row.contestant: row for row in measure_operator(shape, rounds=2, clock=DeviceClock(device))}
    for name, row in rows.items():
        kernels = launches[name[:4].strip()]
        assert row.forward.median == pytest.approx(kernels * (LAUNCH + KERNEL))
        assert row.both.median == pytest.approx(2 * kernels * (LAUNCH + KERNEL))
        assert row.ratio == pytest.approx(kernels)
        if name == "dense kernel":
            assert row.forward_replayed is row.both_replayed is row.replayed_ratio is row.forward_replayed_ratio is None
            continue
        assert row.forward_replayed is not None
        assert row.both_replayed is not None
        assert row.forward_replayed.median == pytest.approx(kernels * KERNEL)
        assert row.both_replayed.median == pytest.approx(2 * kernels * KERNEL)
        assert row.replayed_ratio == pytest.approx(kernels)
        assert row.forward_replayed_ratio == pytest.approx(kernels)
    # The dense kernel asks the device for numbers on its way, so its capture is not even tried.
    assert len(device.captured) == 2 * (len(rows) - 1)


def test_products_and_convolutions_are_timed_in_one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, str]] = []

    def look(*arguments: object, **options: object) -> dict[str, Contestant]:
        matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
        found.append((matmul.fp32_precision, conv.fp32_precision))
        return make_contestants(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(operator_bench, "make_contestants", look)
    monkeypatch.setattr(operator_bench, "_refuse_missing_tf32", lambda device, dtype: None)
    for tf32 in (False, True):
        measure_operator(Shape(1, 2, 2, 3, 3, 9, 1), rounds=2, tf32=tf32, slow=False)
    assert found == [("ieee", "ieee"), ("tf32", "tf32")]


def test_tf32_is_refused_where_there_is_none() -> None:
    shape = Shape(1, 2, 2, 3, 3, 9, 1)
    with pytest.raises(UserError, match="NVIDIA GPU"):
        measure_operator(shape, tf32=True)
    with pytest.raises(UserError, match="bfloat16"):
        measure_operator(shape, tf32=True, dtype=torch.bfloat16)
