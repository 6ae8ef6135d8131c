from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from acu_core.data.planted import JITTER, RADIUS, hidden_positions, planted_data
from acu_core.errors import UserError


def test_shapes_dtypes_and_names() -> None:
    data = planted_data(seed=3, train_count=2500, test_count=300)
    assert data.name == "planted"
    assert data.source == "generated"
    assert data.train_images.shape == (2500, 2, 17, 17)
    assert data.test_images.shape == (300, 2, 17, 17)
    assert data.train_images.dtype == data.test_images.dtype == torch.float32
    assert data.train_labels.shape == (2500,)
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert data.classes == 8
    assert data.channels == 2
    assert data.hidden_positions is not None
    assert data.hidden_positions.shape == (1, 9, 2)


def test_is_a_function_of_the_seed() -> None:
    first, again, other = (planted_data(seed=seed, train_count=100, test_count=50) for seed in (1, 1, 2))
    assert torch.equal(first.train_images, again.train_images)
    assert torch.equal(first.test_labels, again.test_labels)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert not torch.equal(first.train_images, other.train_images)
    assert not torch.equal(first.hidden_positions, other.hidden_positions)  # type: ignore[arg-type]


def test_the_number_of_threads_does_not_matter() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = planted_data(train_count=3000, test_count=10)
        torch.set_num_threads(2)
        two = planted_data(train_count=3000, test_count=10)
    finally:
        torch.set_num_threads(threads)
    assert one.fingerprint == two.fingerprint


def test_training_and_test_fields_differ() -> None:
    data = planted_data(train_count=50, test_count=50)
    assert not torch.allclose(data.train_images, data.test_images, atol=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_hidden_synapses_lie_near_three_pixels_out_in_the_order_of_a_kernel(seed: int) -> None:
    positions = hidden_positions(seed)[0]
    assert positions[4].tolist() == [0, 0]
    for synapse, (y, x) in enumerate((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)):
        if synapse == 4:
            continue
        nominal = torch.tensor([y, x]) * RADIUS / math.hypot(y, x)
        assert float((positions[synapse] - nominal).norm()) <= JITTER + 1e-6
    assert float(positions.abs().max()) > 2.5  # wider than any 3x3 or 5x5 kernel reaches


def test_fields_have_unit_variance_and_the_blur_of_the_issue() -> None:
    images = planted_data(train_count=4000, test_count=1).train_images
    assert float(images.mean()) == pytest.approx(0, abs=0.02)
    deviation = images.std(0)
    assert float(deviation.min()) > 0.93
    assert float(deviation.max()) < 1.07
    # Noise blurred by a Gaussian of deviation s correlates at distance d by exp(-d^2 / 4 s^2).
    for distance in (1, 3):
        expected = math.exp(-(distance**2) / (4 * 1.5**2))
        along_x = (images[..., distance:] * images[..., :-distance]).mean()
        along_y = (images[..., distance:, :] * images[..., :-distance, :]).mean()
        assert float(along_x) == pytest.approx(expected, abs=0.02)
        assert float(along_y) == pytest.approx(expected, abs=0.02)
    assert float((images[:, 0] * images[:, 1]).mean()) == pytest.approx(0, abs=0.02)


def test_classes_are_about_equally_frequent() -> None:
    counts = torch.bincount(planted_data(seed=1, train_count=5000, test_count=1).train_labels, minlength=8)
    assert counts.min() > 0.05 * 5000
    assert counts.max() < 0.25 * 5000


def _centre_samples(images: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """(N, C * K): the images at the positions around their centre, by PyTorch's own interpolation."""
    grid = positions.flip(-1) / 8  # from pixels around the centre of 17 to -1..1, and to (x, y)
    samples = functional.grid_sample(images, grid.expand(len(images), 1, -1, -1), mode="bilinear", align_corners=True)
    return samples.flatten(1)


def _linear_accuracy(samples: tuple[torch.Tensor, torch.Tensor], labels: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Test accuracy of a linear softmax classifier fitted to (training, test) samples."""
    weight = torch.zeros(samples[0].shape[1] + 1, 8, requires_grad=True)
    train, test = (functional.pad(part, (0, 1), value=1.0) for part in samples)
    optimizer = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(train @ weight, labels[0])
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(((test @ weight).argmax(1) == labels[1]).double().mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_hidden_shape_explains_the_labels_and_the_three_by_three_does_not(seed: int) -> None:
    data = planted_data(seed=seed, train_count=6000, test_count=2000)
    assert data.hidden_positions is not None
    square = torch.tensor([[y, x] for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])[None]
    labels = data.train_labels, data.test_labels
    accuracy = {}
    for name, shape in {"hidden": data.hidden_positions, "square": square}.items():
        samples = _centre_samples(data.train_images, shape), _centre_samples(data.test_images, shape)
        accuracy[name] = _linear_accuracy(samples, labels)
    assert accuracy["hidden"] > 0.97
    assert accuracy["square"] < accuracy["hidden"] - 0.2


def test_the_default_size() -> None:
    data = planted_data()
    assert len(data.train_images) == 40_000
    assert len(data.test_images) == 5_000


@pytest.mark.parametrize("counts", [{"train_count": 1}, {"test_count": 0}])
def test_impossible_counts_are_refused(counts: dict[str, int]) -> None:
    with pytest.raises(UserError, match="training and"):
        planted_data(**counts)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="seed is -1"):
        planted_data(seed=-1, train_count=2, test_count=1)
