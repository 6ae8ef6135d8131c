"""What processes tell their launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acu_cli.processes.messages import LAUNCHER, Ending, Mailbox, Sender


@pytest.fixture
def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    # Put back after the test, which the mailbox does not.
    monkeypatch.setenv(LAUNCHER, "")
    return Mailbox(tmp_path, 2)


def sender(rank: int) -> Sender:
    found = Sender.here(rank)
    assert found is not None
    return found


def test_everything_told_arrives(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a process that was started from here.
    monkeypatch.setattr(os, "getppid", os.getpid)
    assert (mailbox.run(), mailbox.processes(), mailbox.endings()) == (None, [], {})
    first, second = sender(0), sender(1)
    assert first.launcher == os.getpid()
    first.tell_process()
    first.tell_run(Path("runs/a run"))
    assert mailbox.run() == "runs/a run"
    second.tell_process()
    second.tell_ending(Ending(2, "it is\nwrong", is_traceback=True))
    assert mailbox.processes() == [os.getpid()] * 2
    assert mailbox.endings() == {1: Ending(2, "it is\nwrong", is_traceback=True)}
    first.tell_ending(Ending(1, lost=True))
    assert mailbox.endings()[0] == Ending(1, None, lost=True)
    halves = Ending(2, "it is wrong: mend it", message="it is wrong", remedies=["mend it"])
    second.tell_ending(halves)
    assert mailbox.endings()[1] == halves


def test_the_end_of_a_long_text_arrives(mailbox: Mailbox) -> None:
    sender(0).tell_ending(Ending(1, "x" * 1_000_000 + "the reason"))
    text = mailbox.endings()[0].text
    assert text is not None
    assert text.endswith("xthe reason")


def test_a_full_disk_keeps_nothing_back(mailbox: Mailbox) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from acu_cli.processes.messages import Ending, Sender; Sender.here(1).tell_ending(Ending(1, 'No space'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert mailbox.endings() == {1: Ending(1, "No space")}


def test_nobody_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAUNCHER, raising=False)
    assert Sender.here(0) is None
    folder = tmp_path / "left"
    folder.mkdir()
    os.mkfifo(folder / "0")
    # A launcher that was killed reads no more and tidies up no more.
    monkeypatch.setenv(LAUNCHER, f"1 {folder}")
    left = sender(0)
    left.tell_run(Path("run"))
    left.tell_ending(Ending(0))
    assert not folder.exists() or os.getppid() == 1
