"""A training step gives work to the device and never waits for it: no value is read, and no copy is a blocking one.

There is no GPU in the tests. PyTorch's fake tensors are of a GPU that is not there: what is called on them is the real
code's, with the real arguments, down to PyTorch's dispatcher, and nothing is computed. Their backward pass alone needs
a GPU, so there the gradients are put in by the test; and a whole step, backward included, is taken on the device
"meta", on which a value cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_data import make_image_folder
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from acu_core.data import image_files
from acu_core.data.data_set import DataSet
from acu_core.data.in_memory import InMemoryData
from acu_core.data.loading import load_data_set
from acu_core.learn import step, step_graph
from acu_core.learn.batch import recipe_batch
from acu_core.learn.loss_scaling import LossScaling
from acu_core.learn.network import recipe_network
from acu_core.learn.step import StepFigures, TrainingStep
from acu_core.nn.active_conv2d import active_layers
from acu_core.op import library
from acu_core.recipe.recipe_file import load_recipe
from acu_core.recipe.schema import Recipe
from acu_core.train.shape_collector import ShapeCollector

GPU = torch.device("cuda:0")
OPERATIONS = torch.ops.aten
READERS = (OPERATIONS._local_scalar_dense.default, OPERATIONS.nonzero.default, OPERATIONS.equal.default)
CHANGES = ("data.batch_size=8", "schedule.warm_up=5", "optimizer.gradient_clip=1.0")


class Watch(TorchDispatchMode):
    """Notes what waits for the device, and what is copied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.copies: list[tuple[int, ...]] = []
        self.operations = 0
        self._pinned: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.operations += 1
        # Fake tensors do not know pinned memory.
        if function is OPERATIONS._pin_memory.default:
            self._pinned.append(torch.empty_like(args[0]))
            return self._pinned[-1]
        if function is OPERATIONS.is_pinned.default:
            return any(args[0] is pinned for pinned in self._pinned)
        if function in (OPERATIONS._to_copy.default, OPERATIONS.copy_.default):
            self._note_copy(function, args, kwargs)
        elif function in READERS and args[0].device.type != "cpu":
            self.waits.append(str(function))
        return function(*args, **kwargs)

    def _note_copy(self, function: Any, args: Any, kwargs: Any) -> None:
        inside = function is OPERATIONS.copy_.default
        source = args[1] if inside else args[0]
        target = args[0].device if inside else kwargs.get("device") or source.device
        if source.device.type == target.type:
            return
        self.copies.append(tuple(source.shape))
        non_blocking = (
            bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            if inside
            else bool(kwargs.get("non_blocking"))
        )
        if target.type == "cpu" or not non_blocking or not any(source is pinned for pinned in self._pinned):
            self.waits.append(f"{function} of {tuple(source.shape)} from {source.device} to {target}")


@pytest.fixture(autouse=True)
def _kernels_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "has_kernel", lambda device_type: True)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    # Autocast asks whether there is a GPU at all.
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def data_on(device: torch.device) -> InMemoryData:
    def empty(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)

    labels = empty(64, dtype=torch.int64), empty(4, dtype=torch.int64)
    return InMemoryData("mine", empty(64, 3, 32, 32), labels[0], empty(4, 3, 32, 32), labels[1], tuple("abcdefghij"))


def step_on(device: torch.device, recipe: Recipe) -> TrainingStep:
    with device:
        return TrainingStep(recipe_network(recipe, 3, 10, pretrained=False), recipe)


def recorded(trained: TrainingStep, figures: StepFigures) -> None:
    """What is kept of an iteration."""
    torch.stack([figures.loss, figures.accuracy])
    ShapeCollector(active_layers(trained.model)).collect(1)


def test_a_copy_from_ordinary_memory_and_a_value_that_is_read_are_seen(fake: FakeTensorMode) -> None:
    with Watch() as watch:
        there = torch.zeros(3).to(GPU)
        torch.zeros(3).pin_memory().to(GPU)
        torch.zeros(3).to(GPU, non_blocking=True)
        there.cpu()
        there.copy_(torch.zeros(3))
        there[0].to(torch.float64)
    assert len(watch.waits) == len(watch.copies) == 5
    with Watch() as watch:
        torch.zeros(3).pin_memory().to(GPU, non_blocking=True)
    assert watch.copies == [(3,)]
    assert not watch.waits


@pytest.mark.parametrize("iteration", [3, 9], ids=["warm-up", "moving"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_blocks_in_a_step(
    fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch, precision: str, iteration: int
) -> None:
    recipe = load_recipe("cifar10-plain-acu", [*CHANGES, f"machine.precision={precision}"])
    data, trained = data_on(GPU), step_on(GPU, recipe)
    assert (data.train_images.device, next(trained.model.parameters()).device) == (GPU, GPU)

    def put_in(scaling: LossScaling, loss: Tensor) -> None:
        assert loss.device == GPU
        for parameter in trained.model.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(LossScaling, "backward", put_in)
    with Watch() as watch:
        recorded(trained, trained(iteration, *recipe_batch(recipe, data, iteration)))
    assert not watch.waits
    # The indices, and the rows and columns of the crops.
    assert watch.copies == [(8, 1 + 32 + 32)]
    assert watch.operations > 200


class Noted:
    """A graph that notes what is done while it is captured, and does nothing when it is replayed."""

    watch: Watch
    captured: list[tuple[int, int, int]]
    """Operations, copies to or from the device, and waits of each capture."""
    replays: int

    def __init__(self, device: torch.device) -> None:
        pass

    def warm_up(self, work: Callable[[], Any]) -> Any:
        return work()

    def capture(self, work: Callable[[], Any]) -> Any:
        watch = self.watch
        before = watch.operations, len(watch.copies), len(watch.waits)
        result = work()
        after = watch.operations, len(watch.copies), len(watch.waits)
        operations, copies, waits = (later - earlier for later, earlier in zip(after, before, strict=True))
        self.captured.append((operations, copies, waits))
        return result

    def replay(self) -> None:
        type(self).replays += 1


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> type[Noted]:
    monkeypatch.setattr(step, "CudaGraph", Noted)
    monkeypatch.setattr(Noted, "captured", [], raising=False)
    monkeypatch.setattr(Noted, "replays", 0, raising=False)
    monkeypatch.setattr(Noted, "watch", Watch(), raising=False)
    return Noted


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("augmented", [True, False])
def test_nothing_blocks_before_in_and_after_a_capture(
    fake: FakeTensorMode, graphs: type[Noted], monkeypatch: pytest.MonkeyPatch, precision: str, augmented: bool
) -> None:
    changes = [*CHANGES, "machine.cuda_graph=true", f"machine.precision={precision}"]
    changes += [] if augmented else ["data.crop_padding=0", "data.mirror=false"]
    recipe = load_recipe("cifar10-plain-acu", changes)
    data, trained = data_on(GPU), step_on(GPU, recipe)

    def put_in(scaling: LossScaling, loss: Tensor) -> None:
        for parameter in trained.model.parameters():
            parameter.grad = torch.empty_like(parameter)

    # In float16 it waits by design, once in a step, to learn whether gradients overflowed; nothing of that is captured.
    after = precision == "float16"
    if after:
        monkeypatch.setattr(LossScaling, "unscale", lambda scaling, optimizer: None)
        monkeypatch.setattr(LossScaling, "step", lambda scaling, optimizer: optimizer.step())
    monkeypatch.setattr(LossScaling, "backward", put_in)
    count = 14
    with graphs.watch as watch:
        for iteration in range(1, count + 1):
            recorded(trained, trained(iteration, *recipe_batch(recipe, data, iteration)))
    assert not watch.waits
    sent = [(8, 1 + 32 + 32)] if augmented else [(8,)]
    assert watch.copies == count * sent
    # The gradients once; the update in the warm-up of five iterations not yet, and once when the positions move.
    assert [(copies, waits) for _, copies, waits in graphs.captured] == [(0, 0)] * (1 if after else 2)
    assert graphs.captured[0][0] > 100
    moving = count - 5 - 3
    assert graphs.replays == count - 3 + (0 if after else moving)


def test_a_copy_amid_a_capture_is_seen(
    fake: FakeTensorMode, graphs: type[Noted], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("cifar10-plain-acu", [*CHANGES, "machine.cuda_graph=true"])
    data, trained = data_on(GPU), step_on(GPU, recipe)

    def copying(scaling: LossScaling, loss: Tensor) -> None:
        torch.zeros(3).to(GPU)

    monkeypatch.setattr(LossScaling, "backward", copying)
    with graphs.watch as watch:
        for iteration in range(1, 5):
            trained(iteration, *recipe_batch(recipe, data, iteration))
    assert len(watch.waits) == 4
    assert [(copies, waits) for _, copies, waits in graphs.captured] == [(1, 1)]


class _Numbers:
    """Image numbers as a tensor has them, with values."""

    def __init__(self, values: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._values = values

    def __getitem__(self, part: slice) -> _Numbers:
        return _Numbers(self._values[part])

    def numpy(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self._values

    def tolist(self) -> list[int]:
        numbers: list[int] = self._values.tolist()
        return numbers


def test_image_files_are_sent_without_waiting(
    fake: FakeTensorMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = image_files.batch_indices

    def indices(*arguments: Any, **options: Any) -> Any:
        # Which files are decoded, on the CPU: fake tensors have no values.
        with unset_fake_temporarily():
            return _Numbers(real(*arguments, **options).numpy())

    monkeypatch.setattr(image_files, "batch_indices", indices)
    data = load_data_set("imagefolder", path=make_image_folder(tmp_path), workers=1, crop=24, resize=28)
    try:
        moved: DataSet = data.to(GPU)
        with Watch() as watch:
            images, labels = moved.training_batch(1, batch_size=4, seed=0)
            tested = next(iter(moved.test_batches(4)))
    finally:
        data.close()  # type: ignore[attr-defined]
    assert {images.device, labels.device, *(tensor.device for tensor in tested)} == {GPU}
    assert not watch.waits
    # Pixels, mean, standard deviation, labels; for training and for testing.
    assert sorted(watch.copies) == sorted(2 * [(4, 24, 24, 3), (3,), (3,), (4,)])


@pytest.mark.parametrize("optimizer", ["clip", "nesterov"])
def test_no_value_is_read_in_a_captured_step(
    graphs: type[Noted], monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    meta = torch.device("meta")
    monkeypatch.setattr(step_graph, "_hindrance", lambda device, processes: None)
    changes = [*CHANGES, "machine.cuda_graph=true", *(["optimizer.nesterov=true"] if optimizer == "nesterov" else [])]
    recipe = load_recipe("cifar10-plain-acu", changes)
    trained, data = step_on(meta, recipe), data_on(meta)
    with graphs.watch:
        for iteration in range(1, 14):
            recorded(trained, trained(iteration, *recipe_batch(recipe, data, iteration)))
    assert len(graphs.captured) == 2
    assert graphs.captured[0][0] > 100


@pytest.mark.parametrize("name", ["cifar10-plain-acu", "cifar10-plain-base", "cifar10-residual-acu"])
@pytest.mark.parametrize("iteration", [3, 9], ids=["warm-up", "moving"])
def test_no_value_is_read_in_a_whole_step(name: str, iteration: int) -> None:
    meta = torch.device("meta")
    recipe = load_recipe(name, [change for change in CHANGES if "warm_up" not in change or name.endswith("acu")])
    trained = step_on(meta, recipe)
    figures = trained(iteration, *recipe_batch(recipe, data_on(meta), iteration))
    recorded(trained, figures)
    assert figures.loss.device == meta


def test_a_value_that_is_read_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = torch.device("meta")
    recipe = load_recipe("cifar10-plain-acu", CHANGES)
    trained = step_on(meta, recipe)

    def reading(parameters: Any, largest: float) -> None:
        nn.utils.get_total_norm([parameter.grad for parameter in parameters]).item()

    clip: Callable[..., Any] = reading
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", clip)
    with pytest.raises(RuntimeError, match="meta"):
        trained(9, *recipe_batch(recipe, data_on(meta), 9))
