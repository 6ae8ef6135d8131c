"""Hostile, damaged and foreign files: one sentence each, never another exception."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import caffe_network
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acu_core.caffe import caffemodel, schema
from acu_core.caffe.caffemodel import read_caffemodel
from acu_core.caffe.plain_state import plain_state
from acu_core.errors import UserError

SMALL = caffe_network.encode(caffe_network.made_up([1] * 8, channels=1, classes=2))
COMPLETE = len(caffe_network.encode(caffe_network.made_up([1] * 8, channels=1, classes=2)[:-1]))
"""Bytes of the small network up to its last computing layer."""


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], bool]:
    """Whether a file with these bytes is imported; a refusal must be one sentence with the file's name."""
    path = tmp_path_factory.mktemp("files") / "x_iter_5.caffemodel"

    def attempt(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            state = plain_state(read_caffemodel(path), 5)
        except UserError as error:
            message = str(error)
            assert str(path) in message
            assert "\n" not in message
            assert len(message) < len(str(path)) + 300
            return False
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
        return True

    return attempt


def test_every_prefix_is_refused_until_the_network_is_whole(imports: Callable[[bytes], bool]) -> None:
    taken = [length for length in range(len(SMALL) + 1) if imports(SMALL[:length])]
    assert taken == [COMPLETE, len(SMALL)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.tuples(st.integers(0, len(SMALL)), st.integers(0, 40)),
)
def test_flipped_and_lost_bytes(
    imports: Callable[[bytes], bool], changes: list[tuple[int, int]], cut: tuple[int, int]
) -> None:
    damaged = bytearray(SMALL)
    for index, byte in changes:
        damaged[index] = byte
    imports(bytes(damaged))
    del damaged[cut[0] : cut[0] + cut[1]]
    imports(bytes(damaged))


def test_inverted_bytes_all_through_the_file(imports: Callable[[bytes], bool]) -> None:
    for index in range(0, len(SMALL), 5):
        imports(SMALL[:index] + bytes([SMALL[index] ^ 0xFF]) + SMALL[index + 1 :])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_random_bytes(imports: Callable[[bytes], bool], content: bytes) -> None:
    assert not imports(content)
    assert not imports(caffe_network.text(100, content))
    assert not imports(caffe_network.text(100, caffe_network.text(7, content)))


def test_foreign_files(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    np.savez(tmp_path / "data.npz", images=np.zeros((2, 3)))
    torch.save({"weight": torch.ones(3)}, tmp_path / "state.pt")
    (tmp_path / "empty").touch()
    (tmp_path / "net.prototxt").write_text('name: "PlainC"\nlayer { name: "data" type: "Data" }\n')
    os.mkfifo(tmp_path / "pipe")
    expected = {
        "picture.png": "not a Caffe network",
        "data.npz": "not a Caffe network",
        "state.pt": "not a Caffe network",
        "net.prototxt": "not a Caffe network",
        "empty": "is empty",
        "pipe": "is not a file",
        ".": "is not a file",
        "missing": "there is no file",
        "net.prototxt/below": "cannot be read",
        "n\0ll": "cannot be read",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message):
            read_caffemodel(tmp_path / name)


def test_the_old_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.caffemodel"
    path.write_bytes(caffe_network.text(1, "old") + caffe_network.text(2, caffe_network.text(4, "conv1")))
    with pytest.raises(UserError, match="upgrade_net_proto_binary"):
        read_caffemodel(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.caffemodel"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match="more than 16 MiB"):
        read_caffemodel(path)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (caffe_network.text(100, b""), "layers, more than"),
        (caffe_network.text(2, b""), "old format"),
        (caffe_network.text(100, b"") * 500, "layers, more than"),
    ],
    ids=["empty layers", "empty old layers", "many layers"],
)
def test_a_file_of_empty_messages_takes_little_memory(tmp_path: Path, part: bytes, expected: str) -> None:
    _refused_within(tmp_path, part * ((caffemodel.LARGEST_FILE - 8) // len(part)), expected)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (caffe_network.text(7, b""), "holds more than a layer"),
        (caffe_network.text(3, b""), "holds more than a layer"),
    ],
    ids=["empty blobs", "empty names"],
)
def test_a_layer_of_empty_messages_takes_little_memory(tmp_path: Path, inside: bytes, expected: str) -> None:
    layer = inside * ((caffemodel.LARGEST_FILE - 16) // len(inside))
    _refused_within(tmp_path, caffe_network.text(100, layer), expected)


def _refused_within(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "hostile.caffemodel"
    path.write_bytes(content)
    # A process of its own, whose memory is bounded: the reader alone, without PyTorch.
    program = (
        "import sys, resource, types\n"
        "package = types.ModuleType('acu_core.caffe'); package.__path__ = [sys.argv[2]]\n"
        "sys.modules['acu_core.caffe'] = package\n"
        "from acu_core.caffe.caffemodel import read_caffemodel, Path\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_caffemodel(Path(sys.argv[1]))\nexcept ValueError as error:\n    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    folder = str(Path(caffemodel.__file__).parent)
    run = subprocess.run([sys.executable, "-c", program, str(path), folder], capture_output=True, text=True, check=True)
    message, grown = run.stdout.splitlines()
    assert expected in message
    assert int(grown) < 600, f"{grown} MiB"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (caffe_network.blob([1.0, 2.0], [3]), r"2 values for the shape \(3,\)"),
        (caffe_network.blob([1.0], [1 << 62]), "1 values for the shape"),
        (caffe_network.blob([1.0], [1 << 62, 4]), "1 values for the shape"),
        (caffe_network.blob([], [0]), "no usable shape"),
        (caffe_network.blob([1.0], [-1, -1]), "no usable shape"),
        (caffe_network.blob([1.0], [1] * 9), "no usable shape"),
        (caffe_network.text(5, np.float32(1).tobytes()), "no usable shape"),
        (caffe_network.blob([np.nan]), "not a finite number"),
        (caffe_network.blob([np.inf]), "not a finite number"),
        (caffe_network.text(8, np.float64(1e300).tobytes()) + caffe_network.blob([], [1]), "not a finite number"),
        (b"\xff", "is damaged"),
    ],
)
def test_blobs_that_contradict_themselves(tmp_path: Path, stored: bytes, expected: str) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(caffe_network.text(100, caffe_network.text(1, "conv\n1") + caffe_network.text(7, stored)))
    with pytest.raises(UserError, match=expected) as raised:
        read_caffemodel(path)
    assert r"blob 0 of layer 'conv\n1'" in str(raised.value)


def test_values_are_read_packed_or_not_and_from_doubles(tmp_path: Path) -> None:
    shape = caffe_network.text(7, caffe_network.number(1, 2))
    halves = np.array([0.5, -1.5])
    floats = b"".join(caffe_network.varint(5 << 3 | 5) + value.tobytes() for value in halves.astype("<f4"))
    doubles = caffe_network.text(8, halves.astype("<f8").tobytes())
    path = tmp_path / "x.caffemodel"
    blobs = [caffe_network.text(7, shape + values) for values in (floats, doubles)]
    path.write_bytes(caffe_network.text(100, b"".join(blobs)))
    found = read_caffemodel(path).layers[0].blobs
    assert [values.tolist() for values in found] == [halves.tolist()] * 2


def test_without_protobuf_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(SMALL)
    schema._classes.cache_clear()
    for name in ("google.protobuf", "google.protobuf.message"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'active-convolution\[caffe\]'"):
        read_caffemodel(path)
