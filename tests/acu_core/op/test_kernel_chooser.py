"""The chooser with kernels of the CPU in place of a GPU's: slower, wrong, raising, or right and faster."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from acu_core.op.kernel_chooser import COLUMNS, FUSED, ROUNDS, TOLERANCES, KernelChooser, Results, Trial

GENERATOR = torch.Generator().manual_seed(0)
RIGHT = torch.randn(4, 6, 8, 8, generator=GENERATOR)


@dataclass
class Clock:
    """Seconds by what was run, not by a real clock."""

    seconds: dict[str, float]
    timed: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def __call__(self, run: Callable[[], object]) -> float:
        self.running.clear()
        run()
        self.timed.append(self.running[-1])
        return self.seconds[self.running[-1]]


@dataclass
class Bench:
    """A chooser whose kernels note that they run."""

    clock: Clock
    warned: list[str]
    chooser: KernelChooser
    calls: list[str]

    def trial(
        self, fused: Callable[[], Results], columns: Callable[[], Results] = lambda: (RIGHT,), sizes: object = (None,)
    ) -> Trial:
        def noted(name: str, run: Callable[[], Results]) -> Callable[[], Results]:
            def called() -> Results:
                self.calls.append(name)
                self.clock.running.append(name)
                return run()

            return called

        return Trial(noted(COLUMNS, columns), noted(FUSED, fused), sizes)  # type: ignore[arg-type]

    def choose(self, *trials: Trial, call: str = "this call") -> str:
        return self.chooser.choose(call, lambda: trials)


def bench(columns: float = 2.0, fused: float = 1.0) -> Bench:
    clock, warned = Clock({COLUMNS: columns, FUSED: fused}), list[str]()
    return Bench(clock, warned, KernelChooser(clock, TOLERANCES, warned.append), [])


def noisy(share: float, dtype: torch.dtype = torch.float32) -> Callable[[], Results]:
    """Every element off by up to a share of itself."""
    noise = 1 + share * (2 * torch.rand(RIGHT.shape, generator=torch.Generator().manual_seed(1)) - 1)
    return lambda: ((RIGHT * noise).to(dtype),)


def off_by(value: float, *place: int) -> Callable[[], Results]:
    wrong = RIGHT.clone()
    wrong[place] += value
    return lambda: (wrong,)


@pytest.mark.parametrize(("columns", "fused", "chosen"), [(2.0, 1.0, FUSED), (1.0, 2.0, COLUMNS), (1.0, 1.0, COLUMNS)])
def test_the_faster_one_that_agrees(columns: float, fused: float, chosen: str) -> None:
    made = bench(columns, fused)
    trial = made.trial(noisy(1e-3))
    assert made.choose(trial) == chosen
    assert made.chooser.choices == {"this call": chosen}
    # In turns, so that whatever slows the device slows both.
    assert made.clock.timed == [COLUMNS, FUSED] * ROUNDS
    before = len(made.calls)
    assert made.choose(trial) == chosen
    assert len(made.calls) == before
    assert made.warned == []


def test_a_few_slow_runs_do_not_decide() -> None:
    made = bench()
    slow = iter([9.0, 1.0, 1.0, 9.0, 1.0])
    made.chooser = KernelChooser(
        lambda run: (run(), next(slow) if made.calls[-1] == FUSED else 2.0)[1], TOLERANCES, made.warned.append
    )
    assert made.choose(made.trial(lambda: (RIGHT,))) == FUSED


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_rounding_is_no_disagreement_and_more_is(dtype: torch.dtype) -> None:
    tolerance = TOLERANCES[dtype]
    for share, chosen in ((tolerance.norm, FUSED), (4 * tolerance.norm, COLUMNS)):
        made = bench()
        columns = RIGHT.to(dtype)
        assert made.choose(made.trial(noisy(share, dtype), lambda columns=columns: (columns,))) == chosen
        assert bool(made.warned) == (chosen == COLUMNS)


@pytest.mark.parametrize(
    ("fused", "words"),
    [
        (off_by(1.0, 3, 5, 7, 7), "result 0 differs from that of the columns' kernels by "),
        (off_by(float("nan"), 0, 0, 0, 0), "result 0 differs"),
        (off_by(float("inf"), 0, 0, 0, 0), "result 0 differs"),
        (lambda: (RIGHT * 1.1,), "result 0 differs"),
        (lambda: (torch.zeros_like(RIGHT),), "result 0 differs"),
        (lambda: (RIGHT.flip(3),), "result 0 differs"),
        (lambda: (RIGHT[:, :5],), "result 0 is (4, 5, 8, 8) torch.float32, not (4, 6, 8, 8) torch.float32"),
        (lambda: (RIGHT.half(),), "result 0 is (4, 6, 8, 8) torch.float16, not"),
    ],
    ids=["one pixel", "NaN", "inf", "scaled", "zeros", "mirrored", "shape", "dtype"],
)
def test_a_disagreement_is_a_warning_that_names_the_call(fused: Callable[[], Results], words: str) -> None:
    made = bench()
    assert made.choose(made.trial(fused), call="forward, bfloat16, input 4x6x8x8") == COLUMNS
    (said,) = made.warned
    assert said.startswith("the fused CUDA kernels are not used for forward, bfloat16, input 4x6x8x8: ")
    assert words in said
    # It is remembered, and said once.
    assert made.choose(made.trial(fused), call="forward, bfloat16, input 4x6x8x8") == COLUMNS
    assert len(made.warned) == 1
    assert made.clock.timed == []


def test_every_result_of_every_trial_is_compared() -> None:
    right, wrong = torch.ones(3), torch.tensor([1.0, 1.0, 1.2])
    both = lambda: (right, right)  # noqa: E731
    for trials in (
        [(lambda: (right, wrong))],
        [(lambda: (wrong, right))],
        # The second trial is the call with other positions.
        [both, (lambda: (right, wrong))],
    ):
        made = bench()
        made_trials = [made.trial(fused, both, (None, None)) for fused in trials]
        assert made.choose(*made_trials) == COLUMNS
        assert len(made.warned) == 1
    made = bench()
    assert made.choose(made.trial(both, both, (None, None)), made.trial(both, both, (None, None))) == FUSED


def raising(error: Exception) -> Callable[[], Results]:
    def run() -> Results:
        raise error

    return run


def test_one_that_raises_is_not_used() -> None:
    made = bench()
    assert made.choose(made.trial(raising(RuntimeError("CUDA error: too many resources\nmore")))) == COLUMNS
    assert made.warned == ["the fused CUDA kernels are not used for this call: CUDA error: too many resources"]
    made = bench()
    assert made.choose(made.trial(raising(RuntimeError()))) == COLUMNS
    assert made.warned == ["the fused CUDA kernels are not used for this call: RuntimeError"]


def test_one_that_raises_when_it_is_timed_is_not_used() -> None:
    made = bench()
    runs = iter([(RIGHT,), (RIGHT,)])
    assert made.choose(made.trial(lambda: next(runs))) == COLUMNS
    assert made.warned == ["the fused CUDA kernels are not used for this call: StopIteration"]


def test_where_the_trusted_ones_raise_the_call_itself_will_say_it() -> None:
    made = bench()
    assert made.choose(made.trial(lambda: (RIGHT,), raising(MemoryError()))) == COLUMNS
    assert made.warned == []


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_what_shows_nothing_decides_nothing(value: float) -> None:
    made = bench()
    nothing = torch.full((2, 3), value)
    trial = made.trial(lambda: (nothing,), lambda: (nothing,))
    # At the 1st, 2nd, 4th and 8th call it is tried.
    assert [made.choose(trial) for _ in range(9)] == [COLUMNS] * 9
    assert made.calls == [COLUMNS, FUSED] * 4
    assert made.chooser.choices == {}
    assert made.warned == []
    later = made.trial(lambda: (RIGHT,))
    assert [made.choose(later) for _ in range(8)] == [COLUMNS] * 6 + [FUSED] * 2


def test_results_without_elements_are_passed_over() -> None:
    made = bench()
    empty = torch.empty(0)
    assert made.choose(made.trial(lambda: (empty, RIGHT), lambda: (empty, RIGHT), (None, None))) == FUSED


def test_what_cancels_to_nothing_is_as_exact_as_what_is_added() -> None:
    # The gradient of a bias in front of a normalisation: a sum of many that comes to rounding alone.
    ours, theirs = torch.tensor([1e-5, -2e-5]), torch.tensor([-1e-5, 1e-5])
    for size, chosen in ((torch.tensor([1.0, 2.0]), FUSED), (None, COLUMNS)):
        made = bench()
        assert made.choose(made.trial(lambda: (ours,), lambda: (theirs,), (size,))) == chosen
    made = bench()
    wrong = made.trial(lambda: (ours + 0.1,), lambda: (theirs,), (torch.tensor([1.0, 2.0]),))
    assert made.choose(wrong) == COLUMNS


def test_what_was_decided_elsewhere_is_taken_over() -> None:
    made = bench()
    made.chooser.adopt({"this call": FUSED, "that call": COLUMNS})
    trial = made.trial(raising(AssertionError()), raising(AssertionError()))
    assert (made.choose(trial), made.choose(trial, call="that call")) == (FUSED, COLUMNS)
    made.chooser.forget()
    assert made.choose(made.trial(lambda: (RIGHT,), lambda: (RIGHT,)), call="that call") == FUSED


def test_two_threads_decide_once() -> None:
    made, chosen = bench(), list[str]()
    start = threading.Barrier(4)

    def slow() -> Results:
        time.sleep(0.01)
        return (RIGHT,)

    trial = made.trial(slow)

    def work() -> None:
        start.wait()
        chosen.append(made.choose(trial))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chosen == [FUSED] * 4
    assert made.calls == [COLUMNS, FUSED] * (1 + ROUNDS)


def test_by_default_it_is_a_warning_of_python() -> None:
    chooser = KernelChooser(lambda run: 0.0, TOLERANCES)
    wrong: Tensor = RIGHT * 2
    with pytest.warns(RuntimeWarning, match="not used for a call"):
        chooser.choose("a call", lambda: [Trial(lambda: (RIGHT,), lambda: (wrong,), (None,))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chooser.choose("a call", list)
