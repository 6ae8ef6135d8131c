"""Own network, own data, own loop: a script of cells, which an editor runs one by one, and `python` from end to end.

About half a minute of one CPU core. It leaves shapes.bin, shapes.gif and network.pt in the directory where it runs.
"""

# %% What is to be learned
# Two dots lie in noise, and the class says in which of four directions the second lies from the first: always 5 pixels
# away. A 3x3 window never sees both. What would, is a shape that only training can find.
import math
import subprocess
import sys

import torch
from torch import Tensor, nn

import acu_core

CLASSES, DISTANCE, SIZE = 4, 5.0, 24


def draw_images(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (count, 1, SIZE, SIZE) with their classes (count,)."""
    labels = torch.randint(CLASSES, (count,), generator=generator)
    angles = labels * math.pi / CLASSES
    first = 8 + 8 * torch.rand(count, 2, generator=generator)
    second = first + DISTANCE * torch.stack([angles.sin(), angles.cos()], dim=1)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixels = torch.stack([rows, columns], dim=-1).float()
    dots = sum((-((pixels - place[:, None, None]) ** 2).sum(-1) / 1.5).exp() for place in (first, second))
    images = dots + 0.3 * torch.randn(count, SIZE, SIZE, generator=generator)
    return images.unsqueeze(1), labels


# %% A network with two active units
# They are used as Conv2d is. `acu_core.from_conv2d(network)` would make a whole network active.
def new_network() -> nn.Module:
    """From images (N, 1, SIZE, SIZE) to logits (N, CLASSES)."""
    torch.manual_seed(0)
    return nn.Sequential(
        acu_core.ActiveConv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        acu_core.ActiveConv2d(16, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


# %% The loop
# Positions have a learning rate of their own, in pixels an iteration: each synapse moves by it, whatever the size of
# its gradient. They rest while the weights find their first form: the warm-up.
ITERATIONS, WARM_UP = 600, 100


def train(position_rate: float, recorded_to: str | None = None) -> nn.Module:
    """A network after ITERATIONS steps of 64 images; a rate of 0 leaves the shapes as they are."""
    network = new_network()
    groups = acu_core.parameter_groups(network, lr=0.05, weight_decay=1e-4, position_lr=position_rate)
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    acu_core.normalize_positions(optimizer)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ITERATIONS)
    recorder = acu_core.ShapeRecorder(network, recorded_to) if recorded_to else None
    generator = torch.Generator().manual_seed(1)
    for iteration in range(1, ITERATIONS + 1):
        images, labels = draw_images(64, generator)
        for layer in acu_core.active_layers(network).values():
            layer.positions.requires_grad_(iteration > WARM_UP)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if recorder is not None:
            recorder.record(iteration)
    if recorder is not None:
        recorder.close()
    return network.eval()


def accuracy(network: nn.Module) -> float:
    """Share of 2,000 new images that are named rightly."""
    images, labels = draw_images(2000, torch.Generator().manual_seed(2))
    with torch.no_grad():
        return (network(images).argmax(1) == labels).float().mean().item()


# %% Shapes that learn beside shapes that rest
frozen = train(position_rate=0.0)
learned = train(position_rate=0.005, recorded_to="shapes.bin")
print(f"accuracy with frozen shapes {accuracy(frozen):.1%}, with learned ones {accuracy(learned):.1%}")

# %% Where the synapses are now
for name, layer in acu_core.active_layers(learned).items():
    reach = layer.positions.detach().norm(dim=-1).amax().item()
    print(f"layer {name}: its farthest synapse is {reach:.1f} px from the centre, it began at {math.sqrt(2):.1f}")
shapes = acu_core.read_shapes("shapes.bin")
print(f"{len(shapes.iterations)} snapshots of {', '.join(shapes.layers)}")

# %% A picture of it, by the command line
subprocess.run([sys.executable, "-m", "acu_cli", "animate-shapes", "shapes.bin", "-o", "shapes.gif"], check=True)

# %% Leaving: an ordinary network, which needs acu no longer
plain = acu_core.to_conv2d(learned)
torch.save(plain.state_dict(), "network.pt")
images, _ = draw_images(8, torch.Generator().manual_seed(3))
with torch.no_grad():
    difference = (plain(images) - learned(images)).abs().max().item()
print(f"without active units the logits differ by {difference:.0e} at most: rounding")
