from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acu_core.data.cifar import CIFAR10, CIFAR100, cifar_data, find_cifar
from acu_core.data.contrast import global_contrast_normalize
from acu_core.data.in_memory import InMemoryData
from acu_core.data.loading import load_data_set
from acu_core.data.whitening import apply_zca, fit_zca
from acu_core.errors import Action, Remedy, UserError

Arrays = dict[str, np.ndarray[Any, Any]]


def _arrays(size: int = 32) -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "train_images": draw.integers(0, 256, (20, size, size, 3), dtype=np.uint8),
        "train_labels": draw.integers(0, 10, 20, dtype=np.uint8),
        "test_images": draw.integers(0, 256, (4, size, size, 3), dtype=np.uint8),
        "test_labels": draw.integers(0, 10, 4, dtype=np.uint8),
    }


def _npz(file: Path, arrays: Arrays) -> Path:
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file


def _torchvision_folder(root: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that torchvision keeps, with few images; torchvision is told their hashes instead of the real ones."""
    from torchvision.datasets import CIFAR10 as Torchvision

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def store(name: str, content: dict[str, object]) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(part: str, rows: slice) -> dict[str, object]:
        pixels = arrays[f"{part}_images"][rows].transpose(0, 3, 1, 2)
        return {"data": pixels.reshape(len(pixels), -1), "labels": arrays[f"{part}_labels"][rows].tolist()}

    train = [store(f"data_batch_{i + 1}", batch("train", slice(4 * i, 4 * i + 4))) for i in range(5)]
    test = [store("test_batch", batch("test", slice(None)))]
    name, md5 = store("batches.meta", {"label_names": ["a"] * 10})
    monkeypatch.setattr(Torchvision, "train_list", train)
    monkeypatch.setattr(Torchvision, "test_list", test)
    monkeypatch.setattr(Torchvision, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return root


def _same(first: InMemoryData, second: InMemoryData) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    same = all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)
    return same and first.fingerprint == second.fingerprint


def test_images_are_normalised_and_whitened_in_channel_order(tmp_path: Path) -> None:
    arrays = _arrays(8)
    data = cifar_data(CIFAR10, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path / "cache")
    train, test = (torch.from_numpy(arrays[f"{part}_images"]).permute(0, 3, 1, 2) for part in ("train", "test"))
    whitening = fit_zca(global_contrast_normalize(train, 55.0), 0.1)
    assert torch.equal(data.train_images, apply_zca(global_contrast_normalize(train, 55.0), whitening))
    assert torch.equal(data.test_images, apply_zca(global_contrast_normalize(test, 55.0), whitening))
    assert data.train_images.shape == (20, 3, 8, 8)
    assert data.train_images.is_contiguous()
    assert data.train_labels.tolist() == arrays["train_labels"].tolist()
    assert data.train_labels.dtype == torch.int64
    assert data.class_names[:2] == ("airplane", "automobile")
    assert data.classes == 10
    assert data.hidden_positions is None
    assert set(data.fingerprint) == {"data", "statistics"}


def test_statistics_come_from_the_cache_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _npz(tmp_path / "c.npz", _arrays(8))
    first = cifar_data(CIFAR10, path=file, cache=tmp_path / "cache")

    def forbidden(*arguments: object) -> None:
        raise AssertionError("the statistics were computed again")

    monkeypatch.setattr("acu_core.data.cifar.fit_zca", forbidden)
    assert _same(first, cifar_data(CIFAR10, path=file, cache=tmp_path / "cache"))


def test_other_training_images_have_other_statistics(tmp_path: Path) -> None:
    arrays = _arrays(8)
    first = cifar_data(CIFAR10, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path / "cache")
    arrays["train_images"][0, 0, 0, 0] ^= 255
    second = cifar_data(CIFAR10, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path / "cache")
    assert first.fingerprint["statistics"] != second.fingerprint["statistics"]
    assert first.fingerprint["data"] != second.fingerprint["data"]
    arrays["test_images"][0, 0, 0, 0] ^= 255
    third = cifar_data(CIFAR10, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path / "cache")
    assert second.fingerprint["statistics"] == third.fingerprint["statistics"]
    assert second.fingerprint["data"] != third.fingerprint["data"]


def test_a_torchvision_folder_holds_the_same_data_as_the_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = _arrays()
    root = _torchvision_folder(tmp_path / "root", arrays, monkeypatch)
    expected = cifar_data(CIFAR10, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path / "cache")
    for path in (root, root / "cifar-10-batches-py"):
        found = cifar_data(CIFAR10, path=path, cache=tmp_path / "cache")
        assert _same(expected, found)
        assert found.source == str(root.resolve())


def test_a_damaged_torchvision_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _torchvision_folder(tmp_path / "root", _arrays(), monkeypatch)
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"damaged")
    with pytest.raises(UserError, match="holds no complete copy of CIFAR-10"):
        cifar_data(CIFAR10, path=root, cache=tmp_path)


def test_a_download_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10 as Torchvision

    def offline(self: Torchvision) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(Torchvision, "download", offline)
    with pytest.raises(UserError, match=r"could not be downloaded to .*new \(no route to host\)"):
        cifar_data(CIFAR10, path=tmp_path / "new", download=True, cache=tmp_path)


def test_nothing_is_downloaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _torchvision_folder(tmp_path / "root", _arrays(), monkeypatch)
    from torchvision.datasets import CIFAR10 as Torchvision

    def forbidden(self: Torchvision) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(Torchvision, "download", forbidden)
    cifar_data(CIFAR10, path=root, cache=tmp_path)


def test_without_torchvision_an_npz_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _torchvision_folder(tmp_path / "root", _arrays(), monkeypatch)
    file = _npz(tmp_path / "c.npz", _arrays(8))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(UserError, match="needs torchvision, which does not load here"):
        cifar_data(CIFAR10, path=root, cache=tmp_path)
    assert cifar_data(CIFAR10, path=file, cache=tmp_path).classes == 10


def test_torchvision_is_not_imported_until_a_folder_is_read(tmp_path: Path) -> None:
    file = _npz(tmp_path / "c.npz", _arrays(8))
    code = (
        "import sys; from pathlib import Path; from acu_core.data.loading import load_data_set\n"
        f"load_data_set('cifar10', path=Path({str(file)!r}), cache=Path({str(tmp_path)!r}))\n"
        "load_data_set('planted', train_count=10, test_count=10)\n"
        "sys.exit('torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def _torchvision_folder_of_100(root: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.datasets import CIFAR100 as Torchvision

    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    lists = {}
    for part in ("train", "test"):
        pixels = arrays[f"{part}_images"].transpose(0, 3, 1, 2)
        labels = arrays[f"{part}_labels"].tolist()
        content = {"data": pixels.reshape(len(pixels), -1), "fine_labels": labels, "coarse_labels": [0] * len(labels)}
        data = pickle.dumps(content)
        (folder / part).write_bytes(data)
        lists[part] = [[part, hashlib.md5(data).hexdigest()]]
    meta = pickle.dumps({"fine_label_names": list(CIFAR100.class_names)})
    (folder / "meta").write_bytes(meta)
    monkeypatch.setattr(Torchvision, "train_list", lists["train"])
    monkeypatch.setattr(Torchvision, "test_list", lists["test"])
    known = {"filename": "meta", "key": "fine_label_names", "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(Torchvision, "meta", known)
    return root


def test_cifar100_from_both_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = _arrays()
    arrays["train_labels"][:2] = 99, 57
    root = _torchvision_folder_of_100(tmp_path / "root", arrays, monkeypatch)
    expected = cifar_data(CIFAR100, path=_npz(tmp_path / "cifar100.npz", arrays), cache=tmp_path)
    assert (expected.name, expected.classes) == ("cifar100", 100)
    assert [expected.class_names[label] for label in expected.train_labels[:2].tolist()] == ["worm", "pear"]
    for path in (root, root / "cifar-100-python"):
        found = load_data_set("cifar100", path=path, cache=tmp_path)
        assert isinstance(found, InMemoryData)
        assert _same(expected, found)
    assert find_cifar(CIFAR100, tmp_path) == tmp_path / "cifar100.npz"
    with pytest.raises(UserError, match=r"no CIFAR-10: .* is no folder that has it"):
        find_cifar(CIFAR10, root)


def test_the_classes_of_cifar100_are_in_order() -> None:
    assert len(set(CIFAR100.class_names)) == 100
    assert list(CIFAR100.class_names) == sorted(CIFAR100.class_names)


def test_cifar10_is_not_taken_for_cifar100(tmp_path: Path) -> None:
    arrays = _arrays(2)
    arrays["train_images"] = np.resize(arrays["train_images"], (5000, 2, 2, 3))
    arrays["train_labels"] = np.arange(5000) % 10
    with pytest.raises(UserError, match=r"has 10 classes among 5000 training .* CIFAR-100 has 100: name a file"):
        cifar_data(CIFAR100, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path)
    assert cifar_data(CIFAR10, path=tmp_path / "c.npz", cache=tmp_path).train_count == 5000


def test_a_few_images_of_cifar10_are_not_taken_for_cifar100(tmp_path: Path) -> None:
    file = _npz(tmp_path / "c.npz", _arrays(2))
    with pytest.raises(UserError, match=r"classes among 20 training .* below 10, as CIFAR-10 has them; CIFAR-100 has"):
        cifar_data(CIFAR100, path=file, cache=tmp_path)


def test_coarse_labels_are_not_taken_for_cifar100(tmp_path: Path) -> None:
    arrays = _arrays(2)
    arrays["train_images"] = np.resize(arrays["train_images"], (5000, 2, 2, 3))
    arrays["train_labels"] = np.arange(5000) % 20
    with pytest.raises(UserError, match=r"has 20 classes among 5000 training images; CIFAR-100 has 100: name a file"):
        cifar_data(CIFAR100, path=_npz(tmp_path / "c.npz", arrays), cache=tmp_path)


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACU_DATA", raising=False)


@pytest.mark.usefixtures("_elsewhere")
def test_what_is_asked_for_comes_before_the_environment_and_that_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, named = _npz(tmp_path / "asked.npz", _arrays(8)), _npz(tmp_path / "named.npz", _arrays(8))
    (tmp_path / "data").mkdir()
    default = _npz(tmp_path / "data" / "cifar10.npz", _arrays(8))
    assert find_cifar(CIFAR10) == default.relative_to(tmp_path)
    monkeypatch.setenv("ACU_DATA", str(named))
    assert find_cifar(CIFAR10) == named
    assert find_cifar(CIFAR10, asked) == asked
    (tmp_path / "data" / "cifar-10-batches-py").mkdir()
    monkeypatch.delenv("ACU_DATA")
    assert find_cifar(CIFAR10) == Path("data")


@pytest.mark.usefixtures("_elsewhere")
def test_nothing_found_says_what_was_looked_for_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"data \(the default\) does not exist; .*npz") as raised:
        find_cifar(CIFAR10)
    assert raised.value.remedies == (Remedy(Action.DOWNLOAD, "cifar10"),)
    with pytest.raises(UserError, match=r"gone.npz \(as asked for\) does not exist"):
        find_cifar(CIFAR10, tmp_path / "gone.npz", download=True)
    monkeypatch.setenv("ACU_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"no CIFAR-10: .* \(as ACU_DATA says\) is no folder that has it"):
        find_cifar(CIFAR10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_elsewhere")
def test_a_download_has_a_folder_to_go_to(tmp_path: Path) -> None:
    assert find_cifar(CIFAR10, download=True) == Path("data")
    assert (tmp_path / "data").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        find_cifar(CIFAR10, tmp_path / "file" / "below", download=True)
