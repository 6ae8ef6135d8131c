from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from acu_core.data.statistics_cache import cached_whitening, default_cache
from acu_core.data.whitening import Whitening


class Counted:
    """Statistics that count how often they are computed."""

    def __init__(self, value: float = 1.0) -> None:
        self.calls = 0
        self.value = float(value)

    def __call__(self) -> Whitening:
        self.calls += 1
        return Whitening(torch.full((12,), self.value), torch.eye(12) * self.value)


def _only_file(cache: Path) -> Path:
    (file,) = cache.iterdir()
    return file


def test_computed_once_for_a_key(tmp_path: Path) -> None:
    compute = Counted(2.5)
    first = cached_whitening("key", 12, compute, tmp_path / "new" / "folder")
    second = cached_whitening("key", 12, compute, tmp_path / "new" / "folder")
    assert compute.calls == 1
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.matrix, second.matrix)
    assert _only_file(tmp_path / "new" / "folder").suffix == ".npz"  # and no partial file


def test_another_key_is_another_file(tmp_path: Path) -> None:
    assert float(cached_whitening("a", 12, Counted(1), tmp_path).mean[0]) == 1
    assert float(cached_whitening("b", 12, Counted(2), tmp_path).mean[0]) == 2
    assert float(cached_whitening("a", 12, Counted(3), tmp_path).mean[0]) == 1


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _flip(file: Path) -> None:
    # Inside the matrix, where only the hashes notice.
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def _foreign(file: Path) -> None:
    file.write_text("not an archive")


def _other_keys(file: Path) -> None:
    np.savez(file, mean=np.zeros(12, dtype=np.float32))


def _other_size(file: Path) -> None:
    np.savez(file, mean=np.zeros(3, np.float32), matrix=np.zeros((3, 3), np.float32), sha256=np.array("x"))


def _wrong_hash(file: Path) -> None:
    np.savez(file, mean=np.zeros(12, np.float32), matrix=np.zeros((12, 12), np.float32), sha256=np.array("x"))


@pytest.mark.parametrize("damage", [_cut, _empty, _flip, _foreign, _other_keys, _other_size, _wrong_hash])
def test_a_damaged_file_is_computed_anew_and_replaced(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cached_whitening("key", 12, Counted(1), tmp_path)
    damage(_only_file(tmp_path))
    compute = Counted(4)
    assert float(cached_whitening("key", 12, compute, tmp_path).mean[0]) == 4
    assert float(cached_whitening("key", 12, compute, tmp_path).mean[0]) == 4
    assert compute.calls == 1


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("here stands a file where the folder should be")
    compute = Counted(6)
    assert float(cached_whitening("key", 12, compute, blocked / "cache").mean[0]) == 6
    assert blocked.read_text().startswith("here")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert float(cached_whitening("key", 12, Counted(6), tmp_path).mean[0]) == 6
    assert list(tmp_path.iterdir()) == []


def test_the_default_place_follows_the_xdg_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert default_cache() == tmp_path / "elsewhere" / "acu"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache() == tmp_path / ".cache" / "acu"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == tmp_path / ".cache" / "acu"
