from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from threaded_processes import ThreadedProcesses, in_threads

from acu_core.data.planted import planted_data
from acu_core.data.randomness import network_seed
from acu_core.errors import UserError
from acu_core.learn.announcement import Announcement, announced
from acu_core.learn.batch import recipe_batch
from acu_core.learn.evaluation import Evaluation, EvaluationStopped, evaluate_network
from acu_core.learn.global_figures import global_figures
from acu_core.learn.joined_processes import joined
from acu_core.learn.meetings import Meetings
from acu_core.learn.network import new_network
from acu_core.learn.processes import ALONE, Processes
from acu_core.learn.workplace import Workplace, choose_device
from acu_core.recipe.schema import Recipe
from acu_core.train.begin import prepare
from acu_core.train.events import NoEvents

WHOLE = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
WHOLE |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def fake(rank: int, size: int) -> Processes:
    return ThreadedProcesses(rank, size, None, [])  # type: ignore[arg-type]


def test_what_torchrun_announces() -> None:
    assert announced(WHOLE) == Announcement(rank=5, size=8, local_rank=1, local_size=4)
    assert announced({}) is None
    assert announced({**WHOLE, "WORLD_SIZE": "1"}) is None
    # As srun alone would leave it.
    few = {key: value for key, value in WHOLE.items() if not key.startswith("LOCAL")}
    assert announced(few) == Announcement(rank=5, size=8, local_rank=0, local_size=1)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"RANK": ""}, "RANK is not set"),
        ({"MASTER_ADDR": "", "MASTER_PORT": " "}, "MASTER_ADDR, MASTER_PORT are not set"),
        ({"RANK": "8"}, "process 8 of 8"),
        ({"LOCAL_RANK": "4"}, "number 4 of 4"),
    ],
)
def test_an_announcement_that_is_not_whole_is_refused(changed: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        announced({**WHOLE, **changed})


def test_without_an_announcement_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert processes is ALONE
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("count", "size"), [(64, 2), (17, 3), (3, 3), (2, 3), (100, 7)])
def test_shares_are_every_row_once_and_differ_by_one_at_most(count: int, size: int) -> None:
    shares = [fake(rank, size).share(count) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ALONE.share(count) == range(count)


def test_a_batch_too_small_to_be_shared_is_refused_before_anything_is_loaded(tiny: Callable[..., Recipe]) -> None:
    prepared = {"data_path": None, "download": False, "place": None, "events": NoEvents()}
    with pytest.raises(UserError, match="a batch of 2 images cannot be shared out to 3 processes"):
        prepare(tiny("data.batch_size=2"), processes=fake(1, 3), **prepared)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_a_batch_make_up_the_batch(size: int, tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("data.batch_size=17", "data.crop_padding=2", "data.mirror=true")
    data = planted_data(train_count=40, test_count=10)
    # From 40 images: the third batch goes over the border of an epoch.
    for iteration in (1, 3):
        images, labels = recipe_batch(recipe, data, iteration)
        shares = [recipe_batch(recipe, data, iteration, fake(rank, size)) for rank in range(size)]
        assert torch.equal(torch.cat([share[0] for share in shares]), images)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)


def test_each_process_draws_its_own_dropout_and_the_first_one_as_one_alone() -> None:
    seeds = {network_seed(seed, iteration, rank) for seed in (0, 1) for iteration in (1, 2) for rank in (0, 1, 2)}
    assert len(seeds) == 12
    assert network_seed(3, 4, 0) == network_seed(3, 4)


def test_figures_of_a_batch_come_from_those_of_its_shares() -> None:
    # 17 images in shares of 8 and 9: 7 and 3 of them right.
    own = [torch.tensor([[1.5, 7 / 8]]), torch.tensor([[3.0, 3 / 9]])]
    for found in in_threads(2, lambda processes: global_figures(own[processes.rank], 17, processes)):
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found[0, 1], np.float32(10) / np.float32(17))
        torch.testing.assert_close(found[0, 0], torch.tensor((8 * 1.5 + 9 * 3) / 17))
    assert global_figures(own[0], 17, ALONE) is own[0]


@pytest.mark.parametrize("size", [2, 3, 9])
def test_an_evaluation_is_the_same_to_the_bit_however_it_is_shared(size: int, tiny: Callable[..., Recipe]) -> None:
    recipe = tiny()
    place = Workplace(planted_data(train_count=40, test_count=110), torch.device("cpu"), 1)
    model = new_network(recipe, place)
    expected = evaluate_network(model, place.data, batch_size=20)

    def evaluated(processes: Processes) -> Evaluation:
        return evaluate_network(model, place.data, batch_size=20, processes=processes)

    assert in_threads(size, evaluated) == [expected] * size


def test_an_evaluation_stops_in_all_when_one_is_asked_to(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny()
    place = Workplace(planted_data(train_count=40, test_count=110), torch.device("cpu"), 1)
    model = new_network(recipe, place)

    def stopped(processes: Processes) -> bool:
        with pytest.raises(EvaluationStopped):
            evaluate_network(model, place.data, batch_size=2, processes=processes, stop=lambda: processes.rank == 1)
        return True

    assert in_threads(2, stopped) == [True, True]


def test_all_learn_at_the_same_step_that_one_was_asked_to_stop() -> None:
    def last_step(processes: Processes) -> int:
        asked = [False]
        meetings = Meetings(processes, lambda: asked[0])
        for step in range(100_000):
            if meetings.stop(step):
                return step
            asked[0] = processes.rank == 1 and step >= 50
            time.sleep(0.001)
        raise AssertionError("nobody stopped")

    first, second = in_threads(2, last_step)
    assert first == second >= 51


def test_steps_that_take_no_time_still_meet_within_a_block() -> None:
    def met(processes: Processes) -> list[int]:
        meetings = Meetings(processes, lambda: False)
        found = []
        for step in range(1000):
            if meetings.due(step):
                found.append(step)
            assert not meetings.stop(step)
        return found

    first, second = in_threads(2, met)
    assert first == second
    assert max(np.diff(first)) <= 256


def test_processes_of_one_machine_do_not_share_a_gpu() -> None:
    with pytest.raises(UserError, match="cannot all use cuda:1"):
        choose_device("cuda:1", fake(0, 2))
    assert choose_device("cpu", fake(1, 2)) == torch.device("cpu")
