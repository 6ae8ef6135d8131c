"""The list of a large data set's files, kept and made anew."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_data import make_image_folder, make_places365

from acu_core.data import file_list_cache, image_folder, places365
from acu_core.data.file_list import FileListBuilder, hash_of_names
from acu_core.data.image_files import ImageFiles
from acu_core.data.image_folder import image_folder_data
from acu_core.data.places365 import places365_data
from acu_core.errors import UserError

Load = Callable[[], ImageFiles]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were really listed, for lists that are kept however short and young their folders are."""
    monkeypatch.setattr(file_list_cache, "LEAST_FILES", 1)
    monkeypatch.setattr(file_list_cache, "_TICK_SECONDS", -3600.0)
    made: list[str] = []
    for module in (image_folder, places365):
        real = module._listed

        def counted(root: str, *rest: object, _real: Callable[..., object] = real) -> object:
            made.append(root)
            return _real(root, *rest)

        monkeypatch.setattr(module, "_listed", counted)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_image_folder(tmp_path / "images", each=3)


@pytest.fixture
def load(tmp_path: Path, root: Path) -> Load:
    return lambda: image_folder_data(path=root, cache=tmp_path / "cache", workers=1)


def _kept(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache").iterdir()
    return file


def test_a_second_start_lists_nothing(load: Load, listed: list[str], root: Path) -> None:
    first, second = load(), load()
    assert listed == [str(root)]
    assert (first.fingerprint, first.class_names) == (second.fingerprint, second.class_names)
    for part in ("_train", "_test"):
        one, other = getattr(first, part), getattr(second, part)
        assert list(one.paths) == list(other.paths)
        assert one.labels.tolist() == other.labels.tolist()
        assert one.sizes.tolist() == other.sizes.tolist()
        assert (one.labels.dtype, one.sizes.dtype) == (other.labels.dtype, other.sizes.dtype)


def _add(root: Path) -> None:
    (root / "train/forest/new.jpg").write_bytes(b"x")


def _remove(root: Path) -> None:
    (root / "val/tower/1.jpeg").unlink()


def _rename(root: Path) -> None:
    (root / "val/tower/1.jpeg").rename(root / "val/tower/9.jpeg")


def _add_below(root: Path) -> None:
    (root / "train/forest/more/new.jpg").write_bytes(b"x")


def _write_over(root: Path) -> None:
    # In a set as small as this one every file is looked at.
    file = root / "train/forest/1.jpeg"
    file.write_bytes(file.read_bytes() + b"x")


def _add_class(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "zoo").mkdir()
        (root / part / "zoo/1.jpg").write_bytes(b"x")


def _back_in_time(root: Path) -> None:
    folder = root / "train/forest"
    before = folder.stat()
    (folder / "new.jpg").write_bytes(b"x")
    # As rsync and tar do.
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [_add, _remove, _rename, _add_below, _write_over, _add_class, _back_in_time], ids=lambda one: one.__name__
)
def test_a_changed_folder_is_listed_anew(
    load: Load, listed: list[str], root: Path, change: Callable[[Path], None]
) -> None:
    (root / "train/forest/more").mkdir()
    (root / "train/forest/more/one.jpg").write_bytes(b"x")
    first = load()
    change(root)
    second = load()
    assert len(listed) == 2
    assert first.fingerprint != second.fingerprint
    assert load().fingerprint == second.fingerprint
    assert len(listed) == 2


def test_a_folder_behind_a_link_is_watched(load: Load, listed: list[str], root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "one.jpg").write_bytes(b"x")
    (root / "train/forest/linked").symlink_to(outside)
    count = load().train_count
    (outside / "two.jpg").write_bytes(b"x")
    assert load().train_count == count + 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "foreign"])
def test_a_damaged_list_is_made_anew(load: Load, listed: list[str], tmp_path: Path, damage: str) -> None:
    first = load()
    file = _kept(tmp_path)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[content.index(b"/train/canyon/") + 8] ^= 1
    elif damage == "emptied":
        content.clear()
    else:
        np.savez(file, a=np.arange(3))
        content = bytearray(file.read_bytes())
    file.write_bytes(content)
    assert load().fingerprint == first.fingerprint
    assert len(listed) == 2
    load()
    assert len(listed) == 2, "the new one is whole"


def test_a_flipped_name_with_a_right_archive_is_not_believed(load: Load, listed: list[str], tmp_path: Path) -> None:
    load()
    file = _kept(tmp_path)
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored}
    arrays["train"][-1] ^= 1
    np.savez(file, **arrays)
    load()
    assert len(listed) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(root: Path, listed: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert image_folder_data(path=root, cache=tmp_path / "file" / "cache", workers=1).train_count == 18
    assert len(listed) == 2


def test_what_is_not_there_is_listed_anew(root: Path, listed: list[str], tmp_path: Path) -> None:
    # With an unknown size: a start that leaves out nothing must refuse it.
    (root / "train/forest/0.jpg").symlink_to(root / "nowhere")
    image_folder_data(path=root, cache=tmp_path / "cache", workers=1, skip_broken=True)
    with pytest.raises(UserError, match=r"0\.jpg cannot be read \(No such file"):
        image_folder_data(path=root, cache=tmp_path / "cache", workers=1)


def test_short_lists_and_young_folders_are_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    image_folder_data(path=root, cache=cache, workers=1)
    assert not cache.exists(), "a short list is looked at file by file"
    monkeypatch.setattr(file_list_cache, "LEAST_FILES", 1)
    # As young as can be: it may change again within the tick of its clock.
    (root / "train/forest/new.jpg").write_bytes(b"x")
    image_folder_data(path=root, cache=cache, workers=1)
    assert not cache.exists()


def test_two_folders_have_two_lists(root: Path, load: Load, listed: list[str], tmp_path: Path) -> None:
    other = make_image_folder(tmp_path / "others", each=2)
    load()
    assert image_folder_data(path=other, cache=tmp_path / "cache", workers=1).train_count == 12
    assert load().train_count == 18
    assert len(listed) == 2


def test_places365_is_kept_too(listed: list[str], tmp_path: Path) -> None:
    root = make_places365(tmp_path / "places")

    def load() -> ImageFiles:
        return places365_data(path=root, cache=tmp_path / "cache", workers=1)

    first = load()
    assert load().fingerprint == first.fingerprint
    assert len(listed) == 1
    gone = root / "data_256_standard/f/forest/00000001.jpg"
    gone.unlink()
    with pytest.raises(UserError, match="is not there"):
        load()
    listing = root / "places365_train_standard.txt"
    listing.write_text("\n".join(line for line in listing.read_text().splitlines() if "forest/00000001" not in line))
    assert load().train_count == first.train_count - 1


def test_the_hash_is_the_one_that_runs_have_recorded() -> None:
    parts = []
    text = "a\0b"
    for part in ("train", "val"):
        builder = FileListBuilder("/data")
        text += "\n2\n"
        for label, name in enumerate((f"/{part}/a/ä.jpg", os.fsdecode(f"/{part}/b/".encode() + b"\xff.jpg"))):
            builder.add("/data" + name, label, 7)
            text += f"{name}\0{label}\0{7}\n"
        parts.append(builder.result())
    assert hash_of_names(("a", "b"), *parts) == hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    builder = FileListBuilder("/data")
    names = ["/data/train/a/ä.jpg", os.fsdecode(b"/data/train/a/\xff\n.jpg"), "/data/train/b/" + 300 * "x"]
    for label, name in enumerate(names):
        builder.add(name, label, 10 + label)
    files = builder.result()
    assert list(files.paths) == names
    assert files.paths[-1] == names[-1]
    assert files.paths[1:] == names[1:]
    assert files.paths[::2] == names[::2]
    with pytest.raises(IndexError):
        files.paths[3]
    assert (files.labels.tolist(), files.sizes.tolist()) == ([0, 1, 2], [10, 11, 12])
