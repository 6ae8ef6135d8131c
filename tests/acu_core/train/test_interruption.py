"""Signals as a wish to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from acu_core.train.interruption import Interruption

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_one_is_a_wish_and_the_second_one_ends_as_usual(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.signal_name == number.name
        assert [signal.getsignal(each) for each in STOPPING[:2]] == before[:2]
        # A closed terminal sends it twice.
        signal.raise_signal(signal.SIGHUP)
        assert interruption.signal_name == number.name
    assert [signal.getsignal(each) for each in STOPPING] == before


@pytest.mark.parametrize("number", STOPPING)
def test_what_a_process_was_started_to_ignore_stays_ignored(number: signal.Signals) -> None:
    """As nohup does with SIGHUP, and a shell with the SIGINT of what it puts in the background."""
    signal.signal(number, signal.SIG_IGN)
    with Interruption() as interruption:
        signal.raise_signal(number)
        assert not interruption.requested
    assert signal.getsignal(number) is signal.SIG_IGN
