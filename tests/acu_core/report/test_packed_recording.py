from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pytest
from recordings import recording_of, restless

from acu_core.render.recording import Recording
from acu_core.report import packed_recording
from acu_core.report.packed_recording import NEAREST, NOT_FINITE, SMALLEST_LOGARITHM, PackedRecording, pack, unpack


def unpacked(packed: PackedRecording) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Iterations (T,), positions (T, S, 2) and logarithms of weight norms (T, S) out of the bytes."""
    iterations, knots = unpack(packed.content, packed.series)
    moments = np.arange(len(iterations))
    synapses = packed.series // 3
    places = np.stack([found.at(moments, packed.position_step) for found in knots[: 2 * synapses]])
    norms = np.stack([found.at(moments, packed.norm_step) for found in knots[2 * synapses :]])
    return iterations, places.reshape(synapses, 2, -1).transpose(2, 0, 1), norms.T


def distances(packed: PackedRecording, recording: Recording) -> npt.NDArray[np.float64]:
    """How far each synapse is off at every snapshot: (T, S)."""
    off = unpacked(packed)[1] - recording.all_synapses()
    return np.hypot(off[..., 0], off[..., 1])


def norms_off(packed: PackedRecording, recording: Recording) -> float:
    norms = np.concatenate([n.reshape(len(n), -1) for n in recording.weight_norms.values()], axis=1).astype(np.float64)
    return float(np.abs(np.exp(unpacked(packed)[2]) / norms - 1).max())


@pytest.mark.parametrize("step", [0.0, 0.0001, 0.001, 0.01])
def test_every_snapshot_is_as_near_as_is_said(step: float) -> None:
    recording = recording_of(restless(3000, 18, step=step, warm_up=300), layers=2, warm_up=300)
    packed = pack(recording)
    off = distances(packed, recording)
    assert off.max() <= packed.position_error <= NEAREST
    assert packed.position_error == pytest.approx(off.max())
    assert norms_off(packed, recording) == pytest.approx(packed.norm_error)
    assert packed.norm_error <= 0.01
    assert unpacked(packed)[0].tolist() == list(range(3000))


def test_sixty_four_thousand_iterations_of_six_layers_fit_an_e_mail() -> None:
    # As the paper trains, but with gradients of no common direction: nothing that is trained is more restless.
    positions = restless(64_001, 54, step=0.001, warm_up=10_000)
    positions[32_000:] = positions[32_000] + 0.1 * (positions[32_000:] - positions[32_000])
    positions[48_000:] = positions[48_000] + 0.1 * (positions[48_000:] - positions[48_000])
    recording = recording_of(positions, layers=6, warm_up=10_000)
    packed = pack(recording)
    assert distances(packed, recording).max() <= NEAREST
    # In base64, with 100 kB for the rest of the page.
    assert len(packed.content) * 4 / 3 <= 900_000


def test_a_short_recording_is_packed_finer_than_it_must_be() -> None:
    recording = recording_of(restless(500, 9, step=0.001))
    packed = pack(recording)
    assert distances(packed, recording).max() == pytest.approx(packed.position_error)
    assert packed.position_error <= NEAREST / 4


def test_what_is_too_restless_for_the_room_is_packed_farther_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_recording, "_SMALL", 0)
    monkeypatch.setattr(packed_recording, "_LARGEST", 4_000)
    monkeypatch.setattr(packed_recording, "_LARGEST_PER_SERIES", 1)
    recording = recording_of(restless(1000, 9, step=0.05))
    packed = pack(recording)
    assert len(packed.content) <= 4_000
    assert packed.position_error > NEAREST
    assert distances(packed, recording).max() == pytest.approx(packed.position_error)


@pytest.mark.parametrize(
    "iterations", [[0], [7], [10_000, 50_000], [0, 1, 2, 10, 20, 30, 31], [2**40, 2**40 + 1, 2**45, 2**45 + 2]]
)
def test_iterations_need_not_be_consecutive(iterations: list[int]) -> None:
    recording = recording_of(restless(len(iterations), 9, step=0.1), iterations=np.array(iterations))
    packed = pack(recording)
    assert unpacked(packed)[0].tolist() == iterations
    assert distances(packed, recording).max() <= NEAREST


def test_positions_on_the_grid_stay_exactly_there() -> None:
    recording = recording_of(np.tile(np.array([[0, -1], [1, 0], [2, -3]], np.float32), (100, 1, 1)))
    packed = pack(recording)
    assert (unpacked(packed)[1] == recording.all_synapses()).all()
    assert packed.position_error == 0.0


def test_positions_that_ran_away_are_as_exact_as_whole_numbers_are() -> None:
    positions = restless(50, 9, step=0.01)
    positions[-1, 0] = 1e30
    recording = recording_of(positions)
    packed = pack(recording)
    assert packed.position_error / 1e30 < 1e-12
    assert distances(packed, recording).max() == pytest.approx(packed.position_error)


def test_norms_that_have_no_logarithm_are_kept_apart() -> None:
    recording = recording_of(np.zeros((4, 3, 2), np.float32))
    norms = recording.weight_norms["conv0"]
    norms[:, 0, 0], norms[:, 0, 1], norms[:, 0, 2] = 0.0, np.inf, np.nan
    logarithms = unpacked(pack(recording))[2]
    np.testing.assert_allclose(logarithms[:, 0], SMALLEST_LOGARITHM, atol=0.02)
    np.testing.assert_allclose(logarithms[:, 1:], NOT_FINITE, atol=0.02)


def test_groups_and_layers_keep_their_order() -> None:
    positions = {"a": np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2), "b": -np.ones((2, 1, 4, 2), np.float32)}
    norms = {"a": np.arange(1, 13, dtype=np.float32).reshape(2, 2, 3), "b": np.full((2, 1, 4), 99.0, np.float32)}
    packed = pack(Recording(np.arange(2), positions, norms, 0, None))
    _, places, logarithms = unpacked(packed)
    np.testing.assert_allclose(places[:, :6].reshape(2, 2, 3, 2), positions["a"], atol=NEAREST)
    np.testing.assert_allclose(places[:, 6:].reshape(2, 1, 4, 2), positions["b"], atol=NEAREST)
    np.testing.assert_allclose(np.exp(logarithms[:, :6]).reshape(2, 2, 3), norms["a"], rtol=0.01)
    np.testing.assert_allclose(np.exp(logarithms[:, 6:]).reshape(2, 1, 4), norms["b"], rtol=0.01)


def test_movements_are_those_of_the_packed_positions() -> None:
    recording = recording_of(restless(200, 18, step=0.05), layers=2)
    packed = pack(recording)
    places = unpacked(packed)[1]
    for number, name in enumerate(recording.positions):
        part = places[:, 9 * number : 9 * (number + 1)]
        assert packed.moved[name] == pytest.approx(np.sqrt(np.square(part[-1] - part[0]).sum(axis=1).mean()))


def test_damaged_bytes_do_not_pass() -> None:
    packed = pack(recording_of(restless(50, 9, step=0.01)))
    with pytest.raises(zlib.error):
        unpack(packed.content[:-10], packed.series)
