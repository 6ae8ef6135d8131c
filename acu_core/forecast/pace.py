"""How fast a recipe trains: some real iterations, an evaluation's first batches and a checkpoint, timed."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from acu_core.data.image_files import AHEAD
from acu_core.forecast.step_clock import Patience, StepClock
from acu_core.forecast.work import Work, work_of
from acu_core.learn.evaluation import EvaluationStopped, evaluate_network
from acu_core.learn.workplace import Workplace, computing
from acu_core.nn.active_conv2d import active_layers
from acu_core.recipe.recipe_file import recipe_toml
from acu_core.recipe.schema import Recipe
from acu_core.recipe.table import MOST_ITERATIONS
from acu_core.runs.checkpoints import list_checkpoints
from acu_core.runs.metrics import TrainingRecord, read_metrics
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.train.environment import describe
from acu_core.train.run_training import RunTraining
from acu_core.train.shape_collector import layer_entries


@dataclass(frozen=True)
class Pace:
    """Seconds: of an iteration that leaves the positions where they are, of one that moves them, of an evaluation of
    all images that are evaluated, of saving a checkpoint. A kind of iterations that the training has none of is None.

    What PyTorch compiles is compiled before the first iteration and in it; it is in none of these.
    """

    still: float | None
    moving: float | None
    evaluation: float
    checkpoint: float

    def training_seconds(self, work: Work) -> float:
        """Of the iterations alone. Raises ValueError where a kind was not measured."""
        total = 0.0
        for count, seconds in ((work.still, self.still), (work.moving, self.moving)):
            if count and seconds is None:
                raise ValueError("these iterations were not measured")
            total += count * (seconds or 0.0)
        return total

    def seconds(self, work: Work) -> float:
        """Of all of it."""
        return self.training_seconds(work) + work.evaluations * self.evaluation + work.checkpoints * self.checkpoint


@dataclass(frozen=True)
class Sample:
    """What the short trainings left on disk, from which the size of a long one follows; bytes."""

    layers: tuple[LayerEntry, ...]
    first_checkpoint: int
    """That of iteration 0, without an optimizer's state."""
    still_checkpoint: int | None
    """Where the positions have not moved, the optimizer holds no state of theirs."""
    moving_checkpoint: int | None
    records: tuple[TrainingRecord, ...]
    settled: int
    """What is written once: the recipe and the environment."""


@dataclass(frozen=True)
class Measured:
    """A pace, how many iterations of each kind were timed for it, and what they left on disk."""

    pace: Pace
    still_timed: int
    moving_timed: int
    sample: Sample
    compiling: float = 0.0
    """Seconds that the first iterations took longer than others, where the network is compiled."""
    compiling_again: float = 0.0
    """The same of a second training in the same process, such as a twin's."""
    warming: float = 0.0
    """Seconds that the first iterations of a process took longer than others, where nothing is compiled."""


def measure_pace(
    recipe: Recipe,
    place: Workplace,
    *,
    patience: Patience | None = None,
    work: Work | None = None,
    test_images: int | None = None,
) -> Measured:
    """Trains `recipe` at `place` for a moment, as `acu_core.train` does it, files included, and forgets it.

    The batch is the recipe's, and so is all that decides the time. Those kinds of iterations are timed that `work`, by
    default the recipe's, has, but no more of a kind than it has; an evaluation is of `test_images`, held-out ones
    included, by default as many as there are, and twice where averaged weights are evaluated too. The files lie in the
    system's temporary directory meanwhile. Weights that a recipe starts with are not read: they change no time.
    """
    patience = patience or Patience()
    work = work or work_of(recipe)
    test_images = test_images or _evaluated_images(place)
    kinds = [moving for moving, count in ((False, work.still), (True, work.moving)) if count]
    stretches: dict[bool, _Stretch] = {}
    with tempfile.TemporaryDirectory(prefix="acu-plan-") as directory, computing(place.threads):
        for moving in kinds:
            path = Path(directory) / ("moving" if moving else "still")
            endless = _endless(recipe, moving=moving)
            evaluated = test_images if moving == kinds[-1] else 0
            # Of a training of a moment, no more is measured than there would be.
            most = max(patience.least, min(patience.most, work.moving if moving else work.still))
            stretches[moving] = _measure(endless, place, path, replace(patience, most=most), evaluated)
    still, moving_one, last = stretches.get(False), stretches.get(True), stretches[kinds[-1]]
    return Measured(
        Pace(
            still.iteration if still else None,
            moving_one.iteration if moving_one else None,
            last.evaluation,
            last.checkpoint,
        ),
        still.timed if still else 0,
        moving_one.timed if moving_one else 0,
        Sample(
            last.layers,
            last.first_checkpoint_bytes,
            still.checkpoint_bytes if still else None,
            moving_one.checkpoint_bytes if moving_one else None,
            last.records,
            last.settled_bytes,
        ),
        *((stretches[kinds[0]].beginning, last.beginning) if recipe.machine.compile else (0.0, 0.0)),
        warming=0.0 if recipe.machine.compile else stretches[kinds[0]].beginning,
    )


def _evaluated_images(place: Workplace) -> int:
    held_out = place.data.validation
    return place.data.test_count + (held_out.test_count if held_out is not None else 0)


@dataclass(frozen=True)
class _Stretch:
    """What a short training of one kind of iterations came to: seconds, and bytes."""

    iteration: float
    timed: int
    beginning: float
    evaluation: float
    checkpoint: float
    layers: tuple[LayerEntry, ...]
    records: tuple[TrainingRecord, ...]
    first_checkpoint_bytes: int
    checkpoint_bytes: int
    settled_bytes: int


def _endless(recipe: Recipe, *, moving: bool) -> Recipe:
    """The same training without an end, all of it of one kind, neither evaluated nor saved on its way."""
    never = MOST_ITERATIONS
    schedule = {"warm_up": 0 if moving else never, "evaluate_every": 0, "checkpoint_every": never, "keep": []}
    return recipe.changed(schedule={"iterations": never, **schedule}, compare_frozen=False)


def _measure(recipe: Recipe, place: Workplace, path: Path, patience: Patience, test_images: int) -> _Stretch:
    clock = StepClock(patience, place.device, ahead=_ahead(place))
    run = RunDirectory.create(path, recipe_toml(recipe), describe(recipe, place))
    training: RunTraining | None = None

    def stop() -> bool:
        return training is not None and clock.enough(training.iteration)

    training = RunTraining(run, recipe, place, pretrained=False, stop=stop, report=lambda *_: None)
    try:
        training.begin()
        first_checkpoint = _newest_checkpoint(run)
        training.run()
        # It was saved after the clock was told for the last time.
        checkpoint = time.perf_counter() - clock.last
        evaluation = _evaluation(training, patience, test_images) if test_images else 0.0
    finally:
        training.close()
    # The first of several processes alone writes.
    records = read_metrics(run.metrics).training if run.metrics.exists() else ()
    return _Stretch(
        clock.seconds,
        clock.figures,
        clock.beginning,
        evaluation,
        checkpoint,
        tuple(layer_entries(active_layers(training.model))),
        records,
        first_checkpoint,
        _newest_checkpoint(run),
        sum(file.stat().st_size for file in run.path.iterdir() if file.suffix in (".toml", ".json")),
    )


def _ahead(place: Workplace) -> int:
    """Batches that are decoded while the network is made or trained on others, and so come faster than the rest."""
    return AHEAD if place.data.workers else 0


def _newest_checkpoint(run: RunDirectory) -> int:
    return next((path.stat().st_size for _, path in list_checkpoints(run)), 0)


def _evaluation(training: RunTraining, patience: Patience, test_images: int) -> float:
    """Seconds of an evaluation of so many images by each network that is evaluated, from its first batches.

    Held-out images take as long as test images, and averaged weights as long as the network's own. Several processes
    share the batches out; here each evaluates its own first ones, without meeting the others.
    """
    recipe, place = training.recipe, training.place
    batch_size = recipe.data.evaluation_batch_size
    clock = StepClock(patience, place.device, ahead=_ahead(place))
    done = 0

    def stop() -> bool:
        return clock.enough(done)

    def progress(images: int) -> None:
        nonlocal done
        done = -(-images // batch_size)

    began = time.perf_counter()
    # It is asked before each batch but not after the last one.
    with contextlib.suppress(EvaluationStopped):
        evaluate_network(
            training.model,
            place.data,
            batch_size=batch_size,
            memory_format=recipe.machine.memory_format,
            stop=stop,
            progress=progress,
        )
    took = time.perf_counter() - began
    batches = test_images / batch_size
    if place.processes.several:
        batches = max(map(len, place.processes.shares(math.ceil(batches))))
    batches *= 2 if recipe.average is not None else 1
    if clock.figures < patience.least:
        # So few that all of them were evaluated.
        return took * batches * batch_size / place.data.test_count
    # The first ones take longer each time: memory is taken for another size.
    return clock.seconds * (batches - done) + took
