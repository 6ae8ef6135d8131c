from __future__ import annotations

import torch

from acu_core.data.made_up import made_up_data


def test_made_up_images_have_the_asked_size_and_are_a_function_of_the_seed() -> None:
    data = made_up_data(3, 8, 5, 40, seed=1)
    assert (data.channels, data.classes, data.train_count, data.test_count) == (3, 5, 40, 40)
    assert data.train_images.shape == data.test_images.shape == (40, 3, 8, 8)
    assert data.train_images.dtype == torch.float32
    assert set(data.train_labels.tolist()) == set(range(5))
    assert torch.equal(data.train_images, made_up_data(3, 8, 5, 40, seed=1).train_images)
    assert not torch.equal(data.train_images, data.test_images)
    assert not torch.equal(data.train_images, made_up_data(3, 8, 5, 40, seed=2).train_images)
    images, labels = data.training_batch(3, batch_size=4, seed=0, crop_padding=2, mirror=True)
    assert images.shape == (4, 3, 8, 8)
    assert labels.shape == (4,)
