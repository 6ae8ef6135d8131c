"""Files and directories that are whole or absent."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acu_core import durable
from acu_core.durable import AppendOnlyFile, publish_directory, sync_directory, write_durably, write_text_durably

ROOT = Path(__file__).parents[2]


def killed(tmp_path: Path, program: str) -> None:
    """Runs a program that kills itself, as kill -9 does."""
    program = (
        "import os, signal, sys; from pathlib import Path; from acu_core import durable\n"
        f"def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n{program}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_text_durably(path, "old") == path
    write_durably(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_can_be_published_without_overwriting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_text_durably(path, "first", overwrite=False)
    for refusal in (None, errno.EPERM):
        if refusal is not None:

            def no_links(*_: object) -> None:
                raise OSError(errno.EPERM, "Operation not permitted")

            monkeypatch.setattr(os, "link", no_links)
        with pytest.raises(FileExistsError):
            write_text_durably(path, "second", overwrite=False)
        write_text_durably(tmp_path / f"other {refusal}", "third", overwrite=False)
    assert path.read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == ["file", "other 1", "other None"]
    assert (tmp_path / "other 1").read_text() == "third"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_nothing_and_does_not_block_the_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_text_durably(tmp_path / "file", "text", overwrite=overwrite)
    assert os.listdir(tmp_path) == []
    write_text_durably(tmp_path / "file", "text", overwrite=overwrite)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF])
def test_a_directory_that_cannot_be_synchronised_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_text_durably(tmp_path / "file", "text")
    publish_directory(tmp_path / "made", lambda path: (path / "last").write_text(""), last="last")
    assert sorted(os.listdir(tmp_path)) == ["file", "made"]


def test_a_broken_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_the_temporary_of_a_killed_process_is_swept_and_nothing_else(tmp_path: Path) -> None:
    killed(tmp_path, "durable.write_durably(Path('file'), lambda file: (file.write(b'half'), file.flush(), die()))")
    (left,) = os.listdir(tmp_path)
    others = [".file.0a1b2c3d.tmp", ".acu-xyz.tmp", "acu-0123456789abcdef.tmp", "thesis.tex"]
    for name in others:
        (tmp_path / name).write_text("mine")
    os.mkfifo(tmp_path / ".acu-0123456789abcdef.tmp")
    os.symlink("thesis.tex", tmp_path / ".acu-0123456789abcdee.tmp")

    def write_both(file: object) -> None:
        # A second creation while the first one is not done.
        write_text_durably(tmp_path / "second", "text")
        file.write(b"text")  # type: ignore[attr-defined]

    write_durably(tmp_path / "first", write_both)
    assert left not in os.listdir(tmp_path)
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() == "text"
    assert set(others) <= set(os.listdir(tmp_path))
    assert ".acu-0123456789abcdee.tmp" in os.listdir(tmp_path)


def test_a_temporary_that_was_swept_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    original = durable._hold

    def swept_first(path: Path, descriptor: int) -> bool:
        paths.append(path)
        if len(paths) == 1:
            durable.sweep(tmp_path)
            assert not path.exists()
        return original(path, descriptor)

    monkeypatch.setattr(durable, "_hold", swept_first)
    write_text_durably(tmp_path / "file", "text")
    assert len(paths) == 2
    publish_directory(tmp_path / "made", lambda path: (path / "last").write_text(""), last="last")
    assert sorted(os.listdir(tmp_path)) == ["file", "made"]


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        (path / "a").mkdir()
        (path / "last").write_text("text")

    def fill_unseen(path: Path) -> None:
        fill(path)
        assert not (tmp_path / "deep" / "made").exists()

    publish_directory(tmp_path / "deep" / "made", fill_unseen, last="last")
    assert sorted(os.listdir(tmp_path / "deep" / "made")) == ["a", "last"]
    assert os.listdir(tmp_path / "deep") == ["made"]
    with pytest.raises(FileExistsError):
        publish_directory(tmp_path / "deep" / "made", fill, last="last")

    def fail(path: Path) -> None:
        fill(path)
        raise KeyboardInterrupt

    (tmp_path / "empty").mkdir()
    for name in ("other", "empty"):
        with pytest.raises(KeyboardInterrupt):
            publish_directory(tmp_path / name, fail, last="last")
    assert sorted(os.listdir(tmp_path)) == ["deep", "empty"]
    assert os.listdir(tmp_path / "empty") == []


def test_an_empty_directory_stays_the_same(tmp_path: Path) -> None:
    before = tmp_path.stat().st_ino
    publish_directory(tmp_path, lambda path: (path / "last").write_text(""), last="last")
    assert tmp_path.stat().st_ino == before
    assert os.listdir(tmp_path) == ["last"]


FILL = """
def fill(path):
    for name in ("a", "b", "last"):
        (path / name).mkdir()
        (path / name / "content").write_text("")
"""


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_what_a_killed_process_has_moved_in_is_taken_back(tmp_path: Path, moves: int) -> None:
    program = f"""{FILL}
moved = []
rename = os.rename
def counted(source, target):
    if len(moved) == {moves}: die()
    rename(source, target)
    moved.append(target)
    if len(moved) == {moves} == 3: die()
os.rename = counted
durable.publish_directory(Path("."), fill, last="last")
"""
    killed(tmp_path, program)
    found = [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert len(found) == moves
    assert ("last" in found) == (moves == 3)
    if moves == 3:
        # It was whole: what sweeps later leaves it so.
        write_text_durably(tmp_path / "file", "text")
        assert sorted(os.listdir(tmp_path)) == ["a", "b", "file", "last"]
        return
    publish_directory(tmp_path, lambda path: (path / "last").write_text(""), last="last")
    assert os.listdir(tmp_path) == ["last"]


def test_an_error_in_the_middle_of_the_moves_takes_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if target.name == "last":
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    def fill(path: Path) -> None:
        (path / "a").write_text("")
        (path / "last").write_text("")

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="No space"):
        publish_directory(tmp_path, fill, last="last")
    assert os.listdir(tmp_path) == []


def test_a_file_to_append_to_is_cut_late_and_is_no_pipe(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    file = AppendOnlyFile.open(path, 4)
    assert path.read_bytes() == b"0123456789"
    file.append(b"x")
    assert path.read_bytes() == b"0123x"
    file.close()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="regular file"):
        AppendOnlyFile.create(tmp_path / "pipe", replace=True)
    with pytest.raises(OSError, match="regular file"):
        AppendOnlyFile.open(tmp_path / "pipe", 0)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk is, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [200, 200_000])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_is_full_while_a_file_is_written_names_the_file(tmp_path: Path, size: int, overwrite: bool) -> None:
    path = tmp_path / "file"
    with files_of_at_most(100), pytest.raises(OSError, match="File too large") as caught:
        write_text_durably(path, "x" * size, overwrite=overwrite)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_while_a_file_grows_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    file = AppendOnlyFile.create(path)
    file.append(b"kept")
    with files_of_at_most(100), pytest.raises(OSError, match="File too large") as caught:
        file.append(bytes(200))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"kept"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            file.sync()
    assert caught.value.filename == str(path)
    file.close()


def test_an_error_of_something_else_than_the_file_keeps_its_name(tmp_path: Path) -> None:
    for error in (OSError(errno.ENOMEM, "no memory for a process"), FileNotFoundError(errno.ENOENT, "gone", "other")):

        def fail(file: object, error: OSError = error) -> None:
            raise error

        with pytest.raises(OSError, match=r"no memory|gone") as caught:
            write_durably(tmp_path / "file", fail)
        assert caught.value is error
        assert caught.value.filename == (None if error.errno == errno.ENOMEM else "other")
    with pytest.raises(FileNotFoundError) as missing:
        write_text_durably(tmp_path / "none" / "file", "text")
    assert missing.value.filename == str(tmp_path / "none" / "file")


def test_a_temporary_directory_is_gone_at_the_end_or_with_the_next_one(tmp_path: Path) -> None:
    with durable.temporary_directory(tmp_path) as first:
        (first / "inside").write_text("content")
        # That of a living process stays.
        with durable.temporary_directory(tmp_path) as second:
            assert (first / "inside").exists()
            assert second != first
    assert os.listdir(tmp_path) == []

    def fail() -> None:
        with durable.temporary_directory(tmp_path) as directory:
            (directory / "inside").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []
    killed(tmp_path, "with durable.temporary_directory(Path('.')) as made: (made / 'inside').touch(); die()")
    assert len(os.listdir(tmp_path)) == 1
    with durable.temporary_directory(tmp_path):
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []
