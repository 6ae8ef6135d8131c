from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from written_run import WrittenRun

from acu_cli.watch.measured_view import watching
from acu_core.bench.contestants import Shape, left_out, make_contestants
from acu_core.bench.operator_bench import OperatorRow, measure_operator
from acu_core.bench.peak_memory import peak_memory
from acu_core.bench.timing import Timing, alternate
from acu_core.bench.training_bench import recipes_to_time
from acu_core.bench.watching_bench import measure_watching, recipe_to_watch
from acu_core.errors import UserError
from acu_core.runs.run_directory import RunDirectory

SMALL = Shape(2, 4, 6, 7, 8, 9, 2)


def test_shapes_are_read_and_refused() -> None:
    assert Shape.parse("64,48,96,32,32,9,2") == Shape(64, 48, 96, 32, 32, 9, 2)
    assert str(Shape.parse("64,48,96,32,32,9,2")) == "48->96 at 32x32 /2, batch 64"
    for text in ("1,2,3", "a,b,c,d,e,f,g", "1,2,3,4,5,9,0", "1,2,3,4,5,8,1", "1,2,3,4,5,16,1"):
        with pytest.raises(UserError, match=r"must be|a shape is"):
            Shape.parse(text)


def test_every_contestant_is_timed_once_a_round_in_changing_order() -> None:
    ran: list[str] = []
    timings = alternate(
        {name: (lambda name=name: ran.append(name)) for name in "abc"},
        rounds=10,
        warm_up=2,  # type: ignore[misc]
    )
    orders = {"".join(ran[i : i + 3]) for i in range(0, len(ran), 3)}
    assert {"".join(sorted(order)) for order in orders} == {"abc"}
    assert len(orders) > 2
    assert all(timing.rounds == 10 for timing in timings.values())


def test_a_timing_is_median_and_distance_of_the_quartiles() -> None:
    assert Timing.of([1.0, 2.0, 3.0, 4.0, 100.0]) == Timing(3.0, 50.5, 5)


@pytest.mark.parametrize(
    "shape", [SMALL, Shape(2, 4, 8, 7, 8, 9, 1, groups=4), Shape(2, 4, 8, 7, 8, 9, 1, position_groups=4)]
)
def test_all_contestants_agree(shape: Shape) -> None:
    rows = measure_operator(shape, rounds=2)
    names = {row.contestant for row in rows}
    assert {"acu channels_last", "acu contiguous", "conv2d channels_last", "conv2d contiguous", "dense kernel"} <= names
    assert ("deform_conv2d" in names) == (shape.groups == shape.position_groups == 1)
    assert min(row.ratio for row in rows if row.contestant.startswith("conv2d")) == 1.0
    assert all(isinstance(row, OperatorRow) and row.both.median > 0 for row in rows)


def test_on_the_grid_the_convolution_is_checked_too() -> None:
    contestants = make_contestants(SMALL, device=torch.device("cpu"), slow=False, on_grid=True)
    assert all(contestant.exact for contestant in contestants.values())


def test_a_contestant_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from acu_core.bench import contestants

    monkeypatch.setattr(
        contestants,
        "active_conv2d_reference",
        lambda x, *rest, **options: 2 * x.new_ones(2, 6, 4, 4) * sum(t.sum() for t in (x, *rest)),
    )
    with pytest.raises(RuntimeError, match="dense kernel computes another output"):
        make_contestants(SMALL, device=torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_compared_on_the_cpu(dtype: torch.dtype) -> None:
    contestants = make_contestants(SMALL, device=torch.device("cpu"), dtype=dtype)
    assert {contestant.forward().dtype for contestant in contestants.values()} == {dtype}
    assert {"acu channels_last", "conv2d channels_last", "dense kernel"} <= set(contestants)
    assert "deform_conv2d" not in contestants
    assert left_out("cpu", dtype) == ["deform_conv2d is left out: torchvision has none of 16 bits for the CPU"]


def test_training_is_timed_in_every_precision_compiled_or_not() -> None:
    recipes = recipes_to_time(batch=2, precisions=("float32", "bfloat16"), compiled=(False, True))
    assert [recipe.name.removeprefix("cifar10-plain-") for recipe in recipes] == [
        *("base", "acu", "base-compiled", "acu-compiled"),
        *("base-bfloat16", "acu-bfloat16", "base-bfloat16-compiled", "acu-bfloat16-compiled"),
    ]
    assert [(recipe.machine.precision, recipe.machine.compile) for recipe in recipes[::2]] == [
        *(("float32", False), ("float32", True), ("bfloat16", False), ("bfloat16", True))
    ]
    assert all(recipe.machine.memory_format == "channels_last" and recipe.data.batch_size == 2 for recipe in recipes)


def test_training_is_timed_with_and_without_a_graph() -> None:
    recipes = recipes_to_time(batch=2, device="cuda", graphs=(False, True))
    assert [recipe.name for recipe in recipes] == [
        *("cifar10-plain-base", "cifar10-plain-acu", "cifar10-plain-base-graph", "cifar10-plain-acu-graph")
    ]
    assert [recipe.machine.cuda_graph for recipe in recipes] == [False, False, True, True]


def test_a_graph_is_for_a_gpu() -> None:
    from acu_cli.app import app
    from acu_core.errors import UserError

    result = CliRunner().invoke(app, ["bench", "train", "--cuda-graph"])
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "--cuda-graph needs a GPU: leave it out, or use --device cuda"


def test_the_commands() -> None:
    from acu_cli.app import app

    result = CliRunner().invoke(app, ["bench", "op", "--shape", "2,4,6,7,8,9,1", "--rounds", "2", "--quick", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert len(rows) == 4
    assert rows[0]["both"]["rounds"] == 2
    options = ["--rounds", "2", "--batch", "2", "--precision", "bfloat16"]
    result = CliRunner().invoke(app, ["bench", "train", *options])
    assert result.exit_code == 0, result.output
    assert "cifar10-plain-acu-bfloat16" in result.stdout
    assert "channels_last, bfloat16 on cpu" in result.stdout


def test_memory_is_that_of_the_fresh_process_alone() -> None:
    # This process has long used more than the fresh one will.
    assert torch.ones(100_000_000).sum() > 0
    shape = Shape(16, 48, 48, 32, 32, 9, 1)
    output_and_gradient = 2 * 4 * shape.images * shape.outputs * shape.height * shape.width
    for name in ("acu channels_last", "conv2d channels_last"):
        assert output_and_gradient <= peak_memory(shape, name, processes=1, threads=1) < 20 * output_and_gradient


@pytest.mark.parametrize("name", ["acu channels_last", "acu contiguous"])
def test_16_bits_need_no_wider_copy_of_a_batch(name: str) -> None:
    shape = Shape(32, 48, 48, 32, 32, 9, 1)
    output_and_gradient = 2 * 2 * shape.images * shape.outputs * shape.height * shape.width
    # A copy of the images in float32 would double it.
    growth = peak_memory(shape, name, dtype=torch.bfloat16, processes=1, threads=1)
    assert output_and_gradient <= growth < 1.5 * output_and_gradient


def test_each_instruction_set_takes_part_by_itself() -> None:
    from acu_core.op import library

    there = library.supported_instruction_sets()
    before = library.instruction_set()
    rows = measure_operator(SMALL, rounds=2, slow=False, instruction_sets=there)
    assert library.instruction_set() == before
    ours = {row.contestant for row in rows if row.contestant.startswith("acu")}
    assert ours == {f"acu {layout}, {one}" for layout in ("channels_last", "contiguous") for one in there}


def test_a_contestant_runs_with_its_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from acu_core.bench import contestants
    from acu_core.op import library

    used: list[str] = []
    real = contestants.active_conv2d

    def spy(*arguments: object, **options: object) -> object:
        used.append(library.instruction_set())
        return real(*arguments, **options)

    monkeypatch.setattr(contestants, "active_conv2d", spy)
    found = make_contestants(
        SMALL, device=torch.device("cpu"), slow=False, checked=False, instruction_sets=library.INSTRUCTION_SETS[:1]
    )
    found["acu channels_last, baseline"].run()
    found["acu channels_last, baseline"].run_forward()
    assert used == ["baseline", "baseline"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--instruction-set", "sse9"], "must be all or one of baseline"),
        (["--instruction-set", "all", "--device", "cuda"], "there is no device"),
    ],
)
def test_an_instruction_set_that_is_not_there_is_refused(options: list[str], words: str) -> None:
    from acu_cli.app import app

    result = CliRunner().invoke(app, ["bench", "op", "--quick", "--rounds", "2", *options])
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)


def test_what_watching_costs_is_measured_turn_and_turn_about() -> None:
    runs: list[Path] = []
    told: list[str] = []

    class Resting:
        """A watcher that does nothing but count."""

        def rest(self) -> None:
            told.append("rest")

        def go_on(self) -> None:
            told.append("go on")

        def used(self) -> tuple[float, int]:
            assert told[-1] == "go on"
            return 0.01 * len(told), 100 * len(told)

    @contextmanager
    def resting(run: Path) -> Iterator[Resting]:
        # Everything is there that a watcher reads, and somebody holds it.
        assert RunDirectory.open(run).is_locked
        assert (run / "positions.bin").exists()
        runs.append(run)
        yield Resting()

    cost = measure_watching(recipe_to_watch(batch=2), resting, pairs=2, seconds=0.3)
    # A pair more that does not count, and the end.
    assert sorted(told[:-1]) == ["go on"] * 3 + ["rest"] * 3
    assert told[-1] == "go on"
    assert cost.pairs == 2
    assert cost.alone_seconds > 0
    assert cost.watched_seconds > 0
    # It has counted nothing between two calls.
    assert cost.watcher_processor_share == cost.watcher_bytes_a_second == 0
    assert not runs[0].exists()


def test_the_real_view_can_rest(tmp_path: Path) -> None:
    with WrittenRun(tmp_path / "run") as written:
        written.go_on(30)
        with watching(written.run.path) as view:
            view.rest()
            processor, size = view.used()
            assert processor > 0
            assert size > 0
            view.go_on()
            written.go_on(60)
            deadline = time.monotonic() + 60
            while view.used()[1] == size:
                assert time.monotonic() < deadline
                time.sleep(0.02)
